"""What a stack's files come to: config."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from stackctl.daemon.apart import apart
from stackctl.daemon.jobs import Emit, Message
from stackctl.daemon.projects import load_request, lockable
from stackctl.daemon.verbs import asking
from stackctl.daemon.verbs.image import streamed
from stackctl.image import lockfile
from stackctl.image.service import CALLER, Images

if TYPE_CHECKING:
    from stackctl.spec.project import LoadRequest
    from stackctl.spec.shown import Wish


class ConfigVerb:
    """Reads files and, when digests are asked for, asks registries; changes nothing."""

    def __init__(self, images: Images) -> None:
        self._images = images

    async def config(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """As far as the request asks (spec.shown.Wish)."""

        async def work(emit: Emit) -> Message:
            from dataclasses import replace

            from stackctl.spec.shown import Wish, described

            request, wish = load_request(body), Wish.of(body)
            if body.get("resolve_image_digests") or wish.only_images:
                CALLER.set(asking.caller(body, emit))
                wish = replace(wish, pins=await self._pins(request, wish))
            facts, warnings = await apart(partial(described, request, wish))
            for notice in warnings:
                emit({"type": "warning", "text": notice.text, "place": str(notice.place or "")})
            return {"type": "result", "exit_code": 0, **facts}

        async for message in streamed(work):
            yield message

    async def _pins(self, request: LoadRequest, wish: Wish) -> dict[str, str]:
        """What the services' images are called with the digests that registries have now."""
        from stackctl.spec.loader import load

        stack = (await apart(partial(load, request, services=wish.services))).stack
        images = sorted(set(lockable(stack).values()))
        names = [lockfile.lockable(image) for image in images]
        digests = await asyncio.gather(*map(self._images.remote_digest, names))
        return {
            image: f"{name}@{digest}"
            for image, name, digest in zip(images, names, digests, strict=True)
        }
