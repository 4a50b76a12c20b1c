"""From stored patches of some places to the named views of a method."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from seco.views.augment import Augment, ColourSpace, Parameters, draw_parameters, make_view
from seco.views.draws import draw_seasons
from seco.views.plan import View, ViewPlan


@dataclasses.dataclass(frozen=True, kw_only=True)
class Viewer:
    """Makes the views of a batch; holds no state, so any batch can be made at any time.

    Attributes:
        key_px: edge of the key views; None is that of the query.
    """

    plan: ViewPlan
    augment: Augment
    space: ColourSpace
    seed: int
    replacement: bool = False
    key_px: int | None = None

    def to(self, device: torch.device) -> Viewer:
        """Return it on another device."""
        return dataclasses.replace(self, space=self.space.to(device))

    def rows(
        self, epoch: int, places: np.ndarray, first_row: np.ndarray, num_dates: np.ndarray
    ) -> Int[np.ndarray, "seasons batch"]:
        """Return the patches that serve as t0, t1, ... of each place."""
        drawn = draw_seasons(
            seed=self.seed, epoch=epoch, samples=places, num_dates=num_dates[places],
            num_seasons=self.plan.num_seasons, replacement=self.replacement,
        )  # fmt: skip
        return (first_row[places][:, None] + drawn).T

    def parameters(self, epoch: int, places: np.ndarray, *, patch_px: int) -> dict[str, Parameters]:
        """Return what each view of each place gets."""
        drawn = {}
        for i, view in enumerate(self.plan.views):
            drawn[view.name] = draw_parameters(
                self.augment, patch_px=patch_px, augmented=view.augment, seed=self.seed, epoch=epoch, samples=places, view=i
            )  # fmt: skip
            if self.plan.order == "crop-augment" and self.out_px(view) != self.augment.out_px:
                # This blur is in pixels of the view: on a smaller one it is as much smaller.
                sigma = drawn[view.name].sigma * (self.out_px(view) / self.augment.out_px)
                drawn[view.name] = dataclasses.replace(drawn[view.name], sigma=sigma)
        return drawn

    def views(self, seasons: Tensor, epoch: int, places: np.ndarray) -> dict[str, Tensor]:
        """Make every view. Pixels where nothing was measured take their band's mean, before anything else.

        Args:
            seasons: stored numbers (seasons, batch, bands, px, px) on the device to compute on.
            epoch: the epoch, a coordinate of the draws.
            places: place numbers (batch,).

        Returns:
            View name -> normalised (batch, bands, out, out), channels-last; `out` is `key_px` for keys, where given.
        """
        drawn = self.parameters(epoch, places, patch_px=int(seasons.shape[-1]))
        with torch.no_grad():
            return {
                view.name: make_view(
                    seasons[view.season], drawn[view.name], self.space, out_px=self.out_px(view), order=self.plan.order
                )
                for view in self.plan.views
            }  # fmt: skip

    def out_px(self, view: View) -> int:
        """Return the edge of a view."""
        return self.augment.out_px if view.name == "q" else self.key_px or self.augment.out_px
