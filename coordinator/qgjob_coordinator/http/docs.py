"""/docs: Swagger UI from files of our own, so that it works without the internet and tells nobody."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse, RedirectResponse
from starlette.staticfiles import StaticFiles

STATIC = Path(__file__).parent / "static"
ASSETS = "/docs/assets"


def routes(title: str) -> APIRouter:
    """The page, and the way to it."""
    router = APIRouter()

    @router.get("/", include_in_schema=False)
    async def root() -> RedirectResponse:
        """Who only knows the port finds out what is there."""
        return RedirectResponse("/docs")

    @router.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        """The API's description for people."""
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=title,
            swagger_js_url=f"{ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{ASSETS}/swagger-ui.css",
            swagger_favicon_url="data:,",
            swagger_ui_parameters={"validatorUrl": None, "tryItOutEnabled": True},
        )

    return router


def assets() -> StaticFiles:
    """The files of the page; they are listed in static/README.md."""
    return StaticFiles(directory=STATIC)
