"""Lets mkdocstrings show an `Example:` of a docstring as code, as it does with `Examples:`."""

import griffe


class ExampleSections(griffe.Extension):
    """Reads `Example:` as `Examples:`."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: object) -> None:
        """Called for each object that has a docstring, before it is parsed."""
        if obj.docstring is not None:
            obj.docstring.value = obj.docstring.value.replace("\nExample:\n", "\nExamples:\n")
