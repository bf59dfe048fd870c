# SPDX-License-Identifier: Apache-2.0
"""Choose a bundle for each modality, with the changes that the user asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ..bids.templates import find_templates
from ..core.quality import ALL, merge_rules
from ..data import anatomical_modality, modalities
from ..data.quality import packaged_rules, qc_numbers
from ..errors import ModelError
from ..network.bundle import find_bundle, load_bundle
from ..records import Bundle, Template
from ..settings import Settings


def choose_bundles(settings: Settings, names: Iterable[str]) -> tuple[dict[str, Bundle], dict[str, str]]:
    """Load one bundle for each modality.

    Returns
    -------
    bundles : dict of Bundle
        By modality.
    missing : dict of str
        Modality -> why no packaged bundle can be used.

    Raises
    ------
    ModelError
        If a bundle that the user named cannot be used.
    """
    named = {}
    for modality, path in settings.models:
        bundle = load_bundle(path)
        named[modality or bundle.modality] = bundle
    bundles, missing = {}, {}
    for modality in names:
        try:
            bundle = named[modality] if modality in named else load_bundle(find_bundle(modality))
        except ModelError as error:
            missing[modality] = str(error)
        else:
            bundles[modality] = customized(bundle, settings, modality)
    return bundles, missing


def customized(bundle: Bundle, settings: Settings, modality: str) -> Bundle:
    """Replace what the user set by hand."""
    changes = {
        'mc_samples': settings.mc_samples,
        'cv_threshold': settings.cv_threshold,
        'intensity': _window(settings) if modalities()[modality].hounsfield else None,
        'qc': quality_rules(modality, bundle.qc, settings.qc_thresholds),
    }
    return replace(bundle, **{name: value for name, value in changes.items() if value is not None})


def quality_rules(modality: str, bundle: Mapping, user: Mapping) -> dict[str, dict]:
    """Combine the thresholds that a scan is judged by.

    Parameters
    ----------
    modality : str
    bundle : mapping
        Number to rules, of a model bundle: they win over the packaged ones.
    user : mapping
        ``all`` or a modality to such mappings: they win over everything.

    Returns
    -------
    dict of str to dict
        As :func:`bids_brainseg.core.quality.verdict` takes them.
    """
    sources = (*packaged_rules(modality), bundle, user.get(ALL, {}), user.get(modality, {}))
    return merge_rules(sources, qc_numbers())


def choose_templates(settings: Settings, bundles: Mapping[str, Bundle]) -> dict[str, list[Template]]:
    """Find the templates of the output spaces, and the head to register each to, for each modality.

    A template is T1-weighted, so it is registered to the T1w head of the reference that the model was trained
    on; to the model's own head only if no T1w head of that reference is packaged.

    Raises
    ------
    BidsError
        With exit code 2 if a template is not on this disk.
    """
    if not settings.output_spaces:
        return {}
    references = {}
    for bundle in (*bundles.values(), load_bundle(find_bundle(anatomical_modality()))):
        if bundle.modality == anatomical_modality() or bundle.reference_name not in references:
            references[bundle.reference_name] = bundle
    return {
        modality: find_templates(settings.output_spaces, references[bundle.reference_name])
        for modality, bundle in bundles.items()
    }


def _window(settings: Settings) -> dict | None:
    if settings.ct_window is None:
        return None
    low, high = settings.ct_window
    return {'type': 'window', 'low': low, 'high': high}
