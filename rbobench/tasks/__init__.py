"""What is optimized: landscapes, image classification and its corruptions."""

from __future__ import annotations


def register() -> None:
    """Register the tasks of this package."""
    from rbobench.tasks import image_tasks, landscape_task

    image_tasks.register()
    landscape_task.register()


__all__ = ["register"]
