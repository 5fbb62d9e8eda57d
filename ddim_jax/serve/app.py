"""The routes of the server."""

import asyncio
import contextlib
import functools
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import logging
from PIL import Image
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

import ddim_jax
from ddim_jax.data.datasets.phantom import draw_phantom
from ddim_jax.imageio.stacks import Stack, open_stack
from ddim_jax.imageio.writers import media_type
from ddim_jax.registry import WRITERS
from ddim_jax.runtime.errors import InputError
from ddim_jax.runtime.values import first_names
from ddim_jax.serve import fields, uploads
from ddim_jax.serve.body import left_out_note
from ddim_jax.serve.guard import Guard, body_of
from ddim_jax.serve.jobs import GONE, Jobs, Upload
from ddim_jax.serve.limits import Limits
from ddim_jax.serve.network import ServedNetwork
from ddim_jax.serve.openapi import document
from ddim_jax.serve.refusals import Refusal, without_paths
from ddim_jax.serve.segmenting import plan, segment, show

STATIC = Path(__file__).parent / "static"
_PHANTOM = 512  # pixels of a side
_SWEEP_SECONDS = 30.0


def create_app(
    networks: Sequence[ServedNetwork],
    limits: Limits = Limits(),  # noqa: B008 - it is frozen
    *,
    token: str | None = None,
    hosts: Collection[str] | None = None,
    fault: Callable[[], None] = lambda: None,
) -> Starlette:
    """The server of these checkpoints as an ASGI application.

    Args:
      networks: one, or several whose results are shown beside each other.
      limits: of uploads and results.
      token, hosts: as `Guard` has them.
      fault: called where the networks cannot segment a first phantom: there will be no results.
    """
    server = _Server(networks, limits, fault)
    return Starlette(
        routes=[
            Route("/", _page),
            Mount("/static", StaticFiles(directory=STATIC)),
            Route("/healthz", server.health),
            Route("/openapi.json", server.openapi),
            Route("/about", server.about),
            Route("/segment", server.segment, methods=["POST"]),
            Route("/results/{id}", server.result),
            Route("/results/{id}", server.remove, methods=["DELETE"]),
            Route("/results/{id}/files/{name:path}", server.file),
            Route("/results/{id}/picture", server.picture),
        ],
        middleware=[Middleware(Guard, most_bytes=limits.upload_bytes, token=token, hosts=hosts)],
        exception_handlers={HTTPException: _refused, InputError: _refused_input},
        lifespan=server.lifespan,
    )


async def _page(request: Request) -> Response:
    return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})


async def _refused(request: Request, error: HTTPException) -> Response:
    return Response(body_of(error), error.status_code, error.headers, media_type="application/json")


async def _refused_input(request: Request, error: InputError) -> Response:
    return await _refused(request, Refusal(422, str(error)))


async def _has_left(request: Request) -> None:
    """Ends when the client of a request that was received closes its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _media_type(name: str) -> str:
    """The media type of a file of a result, `<kind><suffix>`; of the images for the page that of PNG."""
    return next((media_type(w) for kind, w in WRITERS.items() if name == f"{kind}{w.suffix}"), "image/png")


class _Server:
    def __init__(self, networks: Sequence[ServedNetwork], limits: Limits, fault: Callable[[], None]):
        self._networks, self._limits = networks, limits
        self._most = fields.most(limits, (network.options for network in networks))
        self._jobs: Jobs = None  # of the lifespan, as the lock
        self._looking: asyncio.Lock = None
        self._looked_at: tuple[Upload, Stack] | None = None
        self._fault = fault
        self._ready = False

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        with Jobs(self._limits) as self._jobs:
            self._looking, app.state.jobs = asyncio.Lock(), self._jobs
            self._jobs.first(self._warm)
            sweeping = asyncio.create_task(self._sweep())
            yield
            sweeping.cancel()

    def _warm(self) -> None:
        """Compiles the programs, so that the first upload does not wait for it."""
        try:
            for network in self._networks:
                network.segmenter.segment(draw_phantom("test", 0, 0, network.segmenter.image_size)[0], network.options)
            self._ready = True
        except Exception as error:
            logging.error("a first phantom cannot be segmented: %s", error)
            self._fault()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            self._jobs.sweep()
            if self._looked_at is not None and self._looked_at[0].removed:
                self._looked_at = None

    async def health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok" if self._ready else "starting"}, 200 if self._ready else 503)

    async def openapi(self, request: Request) -> Response:
        return JSONResponse(document(request.scope.get("root_path", ""), self._limits, self._most))

    async def about(self, request: Request) -> Response:
        return JSONResponse(
            {
                "version": ddim_jax.__version__,
                "networks": [network.about() for network in self._networks],
                "examples": fields.EXAMPLES,
                "suffixes": uploads.known_suffixes(),
                "upload_bytes": self._limits.upload_bytes,
                "upload_files": self._limits.upload_files,
                "kept_seconds": self._limits.kept_seconds,
                **self._most,
            }
        )

    async def segment(self, request: Request) -> Response:
        most = self._limits.upload_bytes
        client = request.client.host if request.client is not None else ""
        upload = self._jobs.create(min(int(request.headers.get("content-length", most)), most), client)
        try:
            received = await uploads.receive(request, upload.folder / "in", self._limits)
            asked = fields.parse(received.fields)
            options = [fields.options_of(one.segmenter, one.options, asked, self._limits) for one in self._networks]
            work = functools.partial(self._segment, asked=asked, options=options, left_out=received.left_out)
            ending = asyncio.wrap_future(self._jobs.submit(upload, work))
        except BaseException:
            self._jobs.remove(upload)
            raise
        headers = {"Location": self._link(request, upload)}
        if not asked.wait:
            return JSONResponse(self._body(request, upload), 202, headers)
        left = asyncio.ensure_future(_has_left(request))
        await asyncio.wait([ending, left], return_when=asyncio.FIRST_COMPLETED)
        if not ending.done():  # nobody else knows its address
            self._jobs.remove(upload)
            raise ClientDisconnect
        left.cancel()
        if upload.refusal is not None:
            self._jobs.remove(upload)
            raise upload.refusal
        if upload.removed:
            raise Refusal(503, "There is no room to keep the result; try again later.", {"Retry-After": "60"})
        return JSONResponse(self._body(request, upload), 200, headers)

    def _segment(
        self, upload: Upload, asked: fields.Asked, options: Sequence[Any], left_out: Mapping[str, int]
    ) -> None:
        folder = upload.folder / "in"
        if asked.example is not None:
            pixels = draw_phantom("test", 0, asked.example, _PHANTOM)[0]
            Image.fromarray(pixels[..., 0]).save(folder / "0001.png")
        out = upload.folder / "out"
        out.mkdir()
        files, more = uploads.unpack(folder, self._limits, upload.check)
        planned = plan(files, out)
        note = left_out_note(Counter(left_out) + more + planned.passed_over)
        count = len(self._networks)
        results = [
            segment(
                planned.jobs[0], network, chosen, self._limits, f"{number}/", out, lambda of: upload.advance(count * of)
            )
            for number, (network, chosen) in enumerate(zip(self._networks, options, strict=True), start=1)
        ]
        for one in results:
            one.body["notes"] += note
        upload.body = {"networks": [one.body for one in results]}
        upload.files = {name: data for one in results for name, data in one.files.items()}
        upload.source = results[0].source
        if not upload.source:  # nobody looks at it again
            for path in folder.iterdir():
                path.unlink()

    async def result(self, request: Request) -> Response:
        return JSONResponse(self._body(request, self._find(request)))

    async def remove(self, request: Request) -> Response:
        self._jobs.remove(self._find(request))
        return Response(status_code=204)

    async def file(self, request: Request) -> Response:
        name = request.path_params["name"]
        files = self._find(request).files
        data = files.get(name)
        if data is None:
            some = first_names(list(files))
            raise Refusal(404, f"The result has no such file; it has {some or 'none'}.")
        return Response(data, media_type=_media_type(Path(name).name))

    async def picture(self, request: Request) -> Response:
        """A slice of a DICOM or NIfTI source as it is shown with another window: ?slice=1&window=40,400."""
        upload, asked = self._find(request), dict(request.query_params)
        number, window = asked.pop("slice", "1"), asked.pop("window", "")
        index = int(number) - 1 if re.fullmatch("[0-9]{1,6}", number) else -1
        body = upload.body
        if not upload.source:
            raise Refusal(404, "Only a result of DICOM or NIfTI files is shown with other windows.")
        count = len(body["networks"][0]["slices"])
        if asked or not window or not 0 <= index < count:
            raise Refusal(422, f"Expected slice=N, from 1 to {count}, window=CENTRE,WIDTH and no other field.")
        window = self._networks[0].segmenter.options(**fields.parse({"window": window}).options).window
        invert = body["networks"][0]["options"]["invert"]
        async with self._looking:  # a volume takes up to half a GiB, so one is held
            if await request.is_disconnected():  # of a stack that is wheeled through
                raise ClientDisconnect
            if upload.removed:
                raise Refusal(404, GONE)
            try:
                png = await run_in_threadpool(self._shown, upload, index, window, invert)
            except InputError as error:
                raise Refusal(422, without_paths(str(error), upload.folder)) from error
        return Response(png, media_type="image/png")

    def _shown(self, upload: Upload, index: int, window: tuple[float, float], invert: bool) -> bytes:
        if self._looked_at is None or self._looked_at[0] is not upload:
            self._looked_at = None
            self._looked_at = upload, open_stack(upload.source)
        return show(self._looked_at[1], index, window, invert)

    def _find(self, request: Request) -> Upload:
        return self._jobs.get(request.path_params["id"])

    def _link(self, request: Request, upload: Upload) -> str:
        return f"{request.scope.get('root_path', '')}/results/{upload.id}"

    def _body(self, request: Request, upload: Upload) -> dict[str, Any]:
        """The upload as JSON has it; files as links."""
        link = self._link(request, upload)

        def linked(value: Any) -> Any:
            if isinstance(value, dict):
                return {
                    name: {kind: f"{link}/files/{file}" for kind, file in part.items()}
                    if name == "files"
                    else linked(part)
                    for name, part in value.items()
                }
            return [linked(part) for part in value] if isinstance(value, list) else value

        body = {
            "id": upload.id,
            "status": upload.status,
            "progress": {"before": self._jobs.before(upload), "done": upload.done, "of": upload.of},
            "links": {"self": link},
        }
        if upload.refusal is not None:
            body["refusal"] = {"status": upload.refusal.status_code, "error": upload.refusal.detail}
        if upload.status == "done":
            body |= linked(upload.body) | {"not_for_clinical_use": True}
            body["links"] |= {"picture": f"{link}/picture"} if upload.source else {}
        return body
