# SPDX-License-Identifier: Apache-2.0
"""How far training pairs are augmented."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from .label_map import priors


@dataclass(frozen=True)
class AugmentationRanges:
    """How far samples go; ``AugmentationRanges()`` is what the shipped bundles were trained with.

    Parameters
    ----------
    rotation, shear, scale, translation : float
        Standard deviations: degrees, -, -, mm.
    displacement : float
        Upper limit of the standard deviation of control points, mm.
    crop, deface, lesions : float
        Probabilities.
    random_contrast : float
        Probability of a contrast that follows no modality.
    flip : bool
        Mirror heads left to right, classes included.
    effects : mapping of str to float
        Probabilities of the optional effects (``effects`` in ``synthesis.json``) that are not those given
        there.
    """

    rotation: float = 6.0
    shear: float = 0.03
    scale: float = 0.06
    translation: float = 4.0
    displacement: float = 3.5
    crop: float = 0.25
    deface: float = 0.25
    lesions: float = 0.35
    random_contrast: float = 0.25
    flip: bool = True
    effects: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_mapping(cls, values: Mapping[str, float]) -> AugmentationRanges:
        """Build from names and numbers, those of optional effects among them.

        Parameters
        ----------
        values : mapping of str to float
            What differs from the defaults.

        Returns
        -------
        AugmentationRanges

        Raises
        ------
        ValueError
            If a name is unknown; lists the known ones.

        Examples
        --------
        >>> AugmentationRanges.from_mapping({'rotation': 3}).rotation
        3
        """
        names = {item.name for item in fields(cls)} - {'effects'}
        optional = set(priors()['effects'])
        unknown = sorted(set(values) - names - optional)
        if unknown:
            known = ', '.join(sorted(names | optional))
            raise ValueError(f'unknown ranges: {", ".join(unknown)}; known: {known}')
        chosen = {name: value for name, value in values.items() if name in names}
        return cls(**chosen, effects={name: float(values[name]) for name in values if name in optional})

    def probability(self, effect: str) -> float:
        """Return the probability of an optional effect.

        Parameters
        ----------
        effect : str
            One of ``effects`` in ``synthesis.json``.

        Returns
        -------
        float
            In [0, 1].

        Examples
        --------
        >>> AugmentationRanges(effects={'hyperintensities': 0.5}).probability('hyperintensities')
        0.5
        """
        return self.effects.get(effect, priors()['effects'][effect]['probability'])
