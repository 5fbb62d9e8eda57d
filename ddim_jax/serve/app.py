"""The routes of the server."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Collection, Sequence
from pathlib import Path
from typing import Any

from absl import logging
from PIL import Image
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

import ddim_jax
from ddim_jax.data.datasets.phantom import draw_phantom
from ddim_jax.runtime.errors import InputError
from ddim_jax.serve import fields, uploads
from ddim_jax.serve.guard import Guard, body_of
from ddim_jax.serve.jobs import Job, Jobs
from ddim_jax.serve.limits import Limits
from ddim_jax.serve.openapi import document
from ddim_jax.serve.refusals import Refusal
from ddim_jax.serve.segmenting import Network, plan, segment, show

STATIC = Path(__file__).parent / "static"
_PHANTOM = 512  # pixels of a side
_SWEEP_SECONDS = 30.0
_KINDS = {".png": "image/png", ".dcm": "application/dicom", ".gz": "application/gzip"}


def create_app(
    networks: Sequence[Network],
    limits: Limits = Limits(),  # noqa: B008 - it is frozen
    *,
    token: str | None = None,
    hosts: Collection[str] | None = None,
) -> Starlette:
    """The server of these checkpoints as an ASGI application.

    Args:
      networks: one, or several whose results are shown beside each other.
      limits: of uploads and results.
      token, hosts: as `Guard` has them.
    """
    server = _Server(networks, limits)
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


class _Server:
    def __init__(self, networks: Sequence[Network], limits: Limits):
        self._networks, self._limits = networks, limits
        self._jobs: Jobs = None  # of the lifespan
        self._ready = False

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        with Jobs(self._limits) as self._jobs:
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

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            self._jobs.sweep()

    async def health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok" if self._ready else "starting", "unfinished": self._jobs.unfinished()})

    async def openapi(self, request: Request) -> Response:
        return JSONResponse(document(request.scope.get("root_path", ""), self._limits))

    async def about(self, request: Request) -> Response:
        return JSONResponse(
            {
                "version": ddim_jax.__version__,
                "networks": [network.about() for network in self._networks],
                "examples": fields.EXAMPLES,
                "upload_bytes": self._limits.upload_bytes,
                "kept_seconds": self._limits.kept_seconds,
                "steps": self._limits.steps,
                "samples": self._limits.samples,
            }
        )

    async def segment(self, request: Request) -> Response:
        job = self._jobs.create()
        try:
            asked = fields.parse(await uploads.receive(request, job.folder / "in", self._limits))
            options = [fields.options_of(one.segmenter, one.options, asked, self._limits) for one in self._networks]
            ending = self._jobs.submit(job, lambda job: self._segment(job, asked, options))
        except BaseException:
            self._jobs.remove(job)
            raise
        headers = {"Location": self._link(request, job)}
        if not asked.wait:
            return JSONResponse(self._body(request, job), 202, headers)
        await asyncio.shield(asyncio.wrap_future(ending))
        if job.refusal is not None:
            self._jobs.remove(job)
            raise job.refusal
        if job.removed:
            raise Refusal(503, "There is no room to keep the result; try again later.", {"Retry-After": "60"})
        return JSONResponse(self._body(request, job), 200, headers)

    def _segment(self, job: Job, asked: fields.Asked, options: Sequence[Any]) -> None:
        folder = job.folder / "in"
        if asked.example is not None:
            pixels = draw_phantom("test", 0, asked.example, _PHANTOM)[0]
            Image.fromarray(pixels[..., 0]).save(folder / "0001.png")
        out = job.folder / "out"
        out.mkdir()
        planned = plan(uploads.unpack(folder, self._limits), out)
        count = len(self._networks)
        results = [
            segment(planned, network, chosen, self._limits, f"{number}/", out, lambda of: job.advance(count * of))
            for number, (network, chosen) in enumerate(zip(self._networks, options, strict=True), start=1)
        ]
        job.body = {"networks": [one.body for one in results]}
        job.files = {name: data for one in results for name, data in one.files.items()}
        job.places = results[0].places
        if not job.places:  # nobody looks at it again
            for path in folder.iterdir():
                path.unlink()

    async def result(self, request: Request) -> Response:
        return JSONResponse(self._body(request, self._find(request)))

    async def remove(self, request: Request) -> Response:
        self._jobs.remove(self._find(request))
        return Response(status_code=204)

    async def file(self, request: Request) -> Response:
        name = request.path_params["name"]
        data = self._find(request).files.get(name)
        if data is None:
            raise Refusal(404, "The result has no such file.")
        return Response(data, media_type=_KINDS[Path(name).suffix])

    async def picture(self, request: Request) -> Response:
        """A slice of a DICOM or NIfTI source as it is shown with another window: ?slice=1&window=40,400."""
        job, asked = self._find(request), dict(request.query_params)
        number = asked.pop("slice", "1")
        options = fields.parse(asked).options
        index = int(number) - 1 if re.fullmatch("[0-9]{1,6}", number) else -1
        if "window" not in options or not 0 <= index < len(job.places):
            raise Refusal(404, "Expected the result of a DICOM or NIfTI file, slice=N and window=CENTRE,WIDTH.")
        window = self._networks[0].segmenter.options(window=options["window"]).window
        invert = job.body["networks"][0]["options"]["invert"]
        try:
            png = await run_in_threadpool(show, job.places[index], window, invert)
        except InputError as error:
            raise Refusal(422, "The slice cannot be read.") from error
        return Response(png, media_type="image/png")

    def _find(self, request: Request) -> Job:
        return self._jobs.get(request.path_params["id"])

    def _link(self, request: Request, job: Job) -> str:
        return f"{request.scope.get('root_path', '')}/results/{job.id}"

    def _body(self, request: Request, job: Job) -> dict[str, Any]:
        """The job as JSON has it; files as links."""
        link = self._link(request, job)

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
            "id": job.id,
            "status": job.status,
            "progress": {"before": self._jobs.before(job), "done": job.done, "of": job.of},
            "links": {"self": link},
        }
        if job.refusal is not None:
            body["refusal"] = {"status": job.refusal.status_code, "error": job.refusal.detail}
        if job.status == "done":
            body |= linked(job.body) | {"not_for_clinical_use": True}
            body["links"] |= {"picture": f"{link}/picture"} if job.places else {}
        return body
