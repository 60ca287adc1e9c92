"""A project directory that tests fill with files and load."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from stackctl.errors import StackFileError, StackFileErrors
from stackctl.spec import obstacles
from stackctl.spec.loader import Loaded, LoadRequest, load


class Project:
    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(text, str):
            text = text.encode()
        path.write_bytes(text)
        return path

    def request(self, **options: Any) -> LoadRequest:
        return LoadRequest(cwd=str(self.directory), **options)

    def load(
        self,
        text: str = "",
        *more: str,
        environment: Mapping[str, str] | None = None,
        services: tuple[str, ...] = (),
        **options: Any,
    ) -> Loaded:
        """Load the given texts as -f files, or what the directory holds."""
        names = tuple(f"file{i}.yaml" for i, _ in enumerate((text, *more))) if text else ()
        for name, content in zip(names, (text, *more), strict=False):
            self.write(name, content)
        options.setdefault("name", "demo")
        request = self.request(files=names, environment=dict(environment or {}), **options)
        return load(request, services=services)

    def mistakes(self, text: str, *more: str, **options: Any) -> list[str]:
        """What `up` complains about: "line:column: brief [hint]", in order."""
        with pytest.raises(StackFileError) as caught:
            stack = self.load(text, *more, **options).stack
            obstacles.check(stack, options.get("services", ()))
        error = caught.value
        errors = error.errors if isinstance(error, StackFileErrors) else (error,)
        shown = []
        for one in errors:
            place = f"{one.place.line}:{one.place.column}: " if one.place else ""
            hint = f" [{one.hint}]" if one.hint else ""
            shown.append(f"{place}{one.brief}{hint}")
        return shown


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.fixture
def service(project: Project) -> Callable[..., Any]:
    """Loads `web` with the given lines (below `image`), and gives it back."""

    def load_service(lines: str, *, top: str = "", **options: Any) -> Any:
        body = "".join(f"    {line}\n" for line in lines.splitlines())
        text = f"services:\n  web:\n    image: stackctl/host\n{body}{top}"
        return project.load(text, **options).stack.services["web"]

    return load_service
