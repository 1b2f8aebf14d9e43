"""Pictures by plotly: heat maps of sweeps and curves side by side. Candles are drawn by `charts`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    import plotly.graph_objects as go


def heatmap(surface: pd.DataFrame, value: str, title: str) -> go.Figure:
    """A figure by two parameters, columns across and rows upwards; white is zero."""
    import plotly.graph_objects as go

    figure = go.Figure(
        go.Heatmap(
            z=surface.to_numpy(dtype=float).tolist(),
            x=[str(one) for one in surface.columns],
            y=[str(one) for one in surface.index],
            zmid=0.0,
            colorscale="RdBu",
            colorbar={"title": value},
            texttemplate="%{z:.3g}",
            hovertemplate=f"{surface.columns.name} %{{x}}, {surface.index.name} %{{y}}: %{{z:.4g}}<extra></extra>",
        )
    )
    return figure.update_layout(
        title=title, xaxis_title=surface.columns.name, yaxis_title=surface.index.name, template="plotly_white"
    )


def curves(lines: Mapping[str, pd.Series], title: str, unit: str) -> go.Figure:
    """Series over time on one picture."""
    import plotly.graph_objects as go

    figure = go.Figure(
        [
            go.Scatter(
                x=pd.DatetimeIndex(line.index).to_pydatetime().tolist(),
                y=line.round(4).tolist(),
                name=name,
                mode="lines",
            )
            for name, line in lines.items()
        ]
    )
    return figure.update_layout(title=title, yaxis_title=unit, template="plotly_white", hovermode="x unified")
