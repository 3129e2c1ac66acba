"""Neural style transfer, from the target or from the result of spectrum matching."""

from __future__ import annotations

from dataclasses import replace

from napari_nst.methods.base import Enhanced, Input, Method, Options


def transfer(target: Input, style: Input, options: Options) -> Enhanced:
    """Run a style transfer with the parameters of the options; their ``value_range`` gives way to the target's."""
    from napari_nst.settings.parameters import StyleTransferParameters
    from napari_nst.transfer.api import transfer_style

    # Other arguments of a transfer are not the caller's to give.
    parameters = StyleTransferParameters(**{**options.parameters, "value_range": target.value_range})
    result = transfer_style(
        target.pixels,
        style.pixels,
        callback=options.callback,
        cancel=options.cancel,
        mask=target.mask,
        style_mask=style.mask,
        style_value_range=style.value_range,
        parameters=parameters,
    )
    return Enhanced(result.image, result.losses, result.stopped, result.metadata)


def transfer_from_spectrum(target: Input, style: Input, options: Options) -> Enhanced:
    """Run a style transfer that starts from the matched spectrum; its content is the target's, whatever the preset."""
    own = {**options.parameters, "content_from": "target", "init": "spectrum"}
    return transfer(target, style, replace(options, parameters=own))


NST = Method("nst", "Neural style transfer, with any preset.", transfer, transfers=True)
SPECTRUM_NST = Method(
    "spectrum+nst",
    "Neural style transfer that starts from the result of 'spectrum'; the content is the target's.",
    transfer_from_spectrum,
    transfers=True,
)
