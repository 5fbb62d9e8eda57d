"""Small DICOM files for the tests: slices of a CT, X-rays, what is wrong with a file."""

import numpy as np
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

STUDY, SERIES, FRAME = "1.2.826.0.1.3680043.8.498.1", "1.2.826.0.1.3680043.8.498.2", "1.2.826.0.1.3680043.8.498.3"


def bundled(name):
    """The path of a file that comes with pydicom; nothing is fetched."""
    return get_testdata_file(name, download=False)


def ct_slice(path, values, *, place=(0.0, 0.0, 0.0), number=1, series=SERIES, patient="P1", **attributes):
    """Writes int16 [H, W] in Hounsfield units as a slice of a CT."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, f"{series}.{number}"
    dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = STUDY, series, FRAME
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate, dataset.PatientSex = (
        "Secret^Name",
        patient,
        "",
        "O",
    )
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID, dataset.AccessionNumber = "20200101", "101010", "S1", "A1"
    dataset.ReferringPhysicianName, dataset.Manufacturer = "", "Maker"
    dataset.PositionReferenceIndicator = ""
    dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = "CT", 3, number
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = list(place), [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.SliceThickness = [0.5, 0.75], 2.5
    dataset.Rows, dataset.Columns = values.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 1, -1024, "HU"
    dataset.KVP, dataset.AcquisitionNumber = 120, 1
    dataset.PixelData = (values.astype(np.int32) + 1024).astype(np.int16).tobytes()
    for name, value in attributes.items():
        if value is None:
            del dataset[name]
        else:
            setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


def ct_series(folder, count=4, shape=(12, 10), seed=0, **attributes):
    """Writes slices whose names and numbers run against their places; returns their values in order of place."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    values = rng.integers(-1000, 1000, (count, *shape))
    for place in range(count):
        name = folder / f"IM{count - place:03d}"  # without a suffix, as scanners name them
        ct_slice(name, values[place], place=(-10.0, 5.0, 2.5 * place), number=count - place, **attributes)
    return values
