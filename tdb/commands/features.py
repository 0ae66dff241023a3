"""The features of the focus layer: their metrics, and the forces on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdb.commands import command
from tdb.commands.arguments import Count, Expression, Ids, LayerName, MetricName
from tdb.counted import counted
from tdb.errors import UsageError
from tdb.features import Choice, Features, features_of, metrics_table
from tdb.forces import Forces, forces_of
from tdb.ids import looks_like_ids
from tdb.layers import layers_with_features
from tdb.results import Facts, Images, Profiles, Result, Scatter, Table, Text
from tdb.this_step import feature_ids, features_now, row_image_shape, trained_model
from tdb.travel.captured import want_captured

if TYPE_CHECKING:
    from tdb.session import Session


@command(running="queued")
def focus(session: Session, layer: LayerName | None = None) -> Result:
    """List the layers that have features, or make one the focus: the layer that the tables are about.

    Linear, convolution and embedding layers have a feature for each row of their weight.

    Example:
        focus
        focus decoder.0
    """
    controller = session.controller
    model = trained_model(session)
    unwatched = ""
    if layer is not None:
        unwatched = session.ask(lambda: controller.move_focus(layer), of_a_step=False)
    found = layers_with_features(model)
    table = Table(
        {
            "layer": [info.name for info in found],
            "kind": [info.kind for info in found],
            "features": [info.features for info in found],
            "row": ["x".join(map(str, info.row_shape)) for info in found],
            "focus": ["<-" if info.name == controller.layer.name else "" for info in found],
        },
        note=f"{counted(len(found), 'layer')} with features",
    )
    data = {"focus": controller.layer.name, "layers": table}
    if layer is not None:
        said = f"focus {controller.layer.name}: {controller.layer.info_text()}"
        return Result([Text(said)], data, [unwatched] if unwatched else [])
    return Result([table], data)


@command("m", running="queued", repeats=True)
def metrics(
    session: Session,
    *columns: MetricName,
    sort: MetricName | None = None,
    asc: bool = False,
    desc: bool = False,
    top: Count | None = None,
    where: Expression | None = None,
) -> Result:
    """Show the metrics of this step, a row for each feature.

    COL chooses columns, and ids among them choose features: `3 17`, `0:8`, `@dead`. `sort` is descending unless `asc`
    is said. The status is read from a metric: dead (x), contender (~), winner (*); see `set status.dead`.

    Example:
        metrics
        metrics sort win_rate asc top 5
        metrics win_rate som_magnitude where win_rate < 0.01
        metrics @dead -o dead.csv
    """
    features = features_now(session)
    words = [word for word in columns if looks_like_ids(word)]
    names = [word for word in columns if not looks_like_ids(word)]
    if asc and desc:
        raise UsageError("metrics sorts one way", "asc or desc")
    choice = Choice(
        names,
        feature_ids(session, words, features) if words else None,
        where or "",
        sort or ("feature_id" if asc or desc else ""),
        asc,
        top,
    )
    table = metrics_table(features, choice)
    notes = want_captured(session) if not (names or features.is_complete) else []
    return Result([table], {"layer": features.layer, "table": table, "status": table.status}, notes)


@command("f", running="now")
def force(session: Session, *ids: Ids) -> Result:
    """Look at the forces on features: weight, the optimizer's part of the step, the rule's part, and their sum.

    Without ids: how many features have parts that agree or fight, the most opposed of them, and how strong the rule is
    beside the gradient. With ids: the parts as images on one scale a row, their norms and cosine. Changes nothing.

    Example:
        force
        force 17
        force 3 17 42 -o forces.png
    """

    def look() -> tuple[Features, Forces]:
        features = features_of(session.controller, session.settings.thresholds())
        return features, forces_of(session.controller, features.status)

    features, forces = session.ask(look)
    if not ids:
        return _agreement(forces)
    chosen = feature_ids(session, ids, features)
    table = forces.table(chosen)
    names = {"weight": forces.weights, **{f"{name}_delta": part for name, part in forces.parts.items()}}
    names["combined"] = forces.combined
    data = {
        "table": table,
        "status": table.status,
        "vectors": {str(row): {name: value[row] for name, value in names.items()} for row in chosen},
    }
    return Result([table, *([_force_pictures(session, forces, chosen, names)] if chosen else [])], data)


def _agreement(forces: Forces) -> Result:
    numbers = forces.agreement()
    data: dict[str, Any] = dict(numbers)
    if not forces.rule_part:
        strongest = [int(row) for row in np.argsort(-forces.norms["combined"], kind="stable")[:10]]
        table = forces.table(strongest, "the 10 that moved most" if len(strongest) == 10 else "by movement")
        note = "one force only, the optimizer's: no rule is attached to this layer"
        return Result([Facts(numbers), table], {**data, "moved_most": table}, [note])
    rule = forces.rule_part
    opposed = forces.most_opposed()
    table = forces.table(opposed, f"the {len(opposed)} most opposed of {numbers['fight']} that fight")
    unclear = numbers["undefined"] + numbers["orthogonal"]
    sentence = (
        f"{counted(numbers['agree'], 'feature')} agree, {numbers['fight']} fight, {unclear} neither or undefined; "
        f"{rule} moved the weights {numbers[f'{rule}_to_grad']:.3g} times as far as the gradient's update "
        f"({numbers[f'{rule}_delta_norm']:.3g} : {numbers['grad_delta_norm']:.3g})"
    )
    return Result([Text(sentence), *([table] if opposed else [])], {**data, "most_opposed": table})


def _force_pictures(session: Session, forces: Forces, chosen: list[int], names: dict[str, Any]) -> Images | Profiles:
    vectors = [value[chosen] for value in names.values()]
    norms = {name: np.linalg.norm(value, axis=1) for name, value in names.items()}
    labels = [
        f"{row}: {norms[name][row]:.3g}" if len(chosen) > 1 else f"{name.replace('_', ' ')} {norms[name][row]:.3g}"
        for name in names
        for row in chosen
    ]
    named = ", ".join(map(str, chosen[:8])) + (f" and {len(chosen) - 8} more" if len(chosen) > 8 else "")
    title = f"forces on {'feature' if len(chosen) == 1 else 'features'} {named}"
    shape = row_image_shape(session, forces.weights.shape[1])
    drawn = "profiles" if shape is None else "images"
    caption = f"{title}: a row each for weight and deltas, one scale a row; the norms stand over the {drawn}"
    stacked = np.concatenate(vectors)
    scales = [float(np.nanmax(np.abs(value), initial=0.0)) for value in vectors]
    if shape is None:
        limits = [scale for scale in scales for _ in chosen]
        return Profiles(stacked, labels, caption=caption, title=title, scales=limits)
    return Images(
        stacked.reshape(len(stacked), *shape),
        labels,
        caption=caption,
        title=title,
        signed=True,
        columns=len(chosen),
        rows=[name.replace("_", " ") for name in names],
        scales=scales,
    )


@command(running="queued")
def scatter(
    session: Session,
    x: MetricName | None = None,
    y: MetricName | None = None,
    *,
    color: MetricName | None = None,
    log: bool = False,
) -> Result:
    """Draw two metrics against each other, a point for each feature, of this batch alone.

    For BCL: gradient against SOM magnitude, coloured by win rate. In a window a click on a point is `force ID`.

    Example:
        scatter
        scatter win_rate feature_novelty color som_magnitude
    """
    features = features_now(session)
    default_x, default_y, default_color = features.scatter
    x, y = x or default_x, y or default_y
    color = color or (default_color if default_color in features.metrics else "")
    coloured = f", coloured by {color}" if color else ""
    picture = Scatter(
        features.metric(x),
        features.metric(y),
        x,
        y,
        np.arange(features.count),
        color=features.metric(color) if color else None,
        color_name=color,
        status=features.status,
        log=log,
        title=features.layer,
        caption=f"{y} against {x} of {counted(features.count, 'feature')}{coloured}: {_groups(features.groups())}",
    )
    columns = {"feature_id": picture.ids, **{name: features.metric(name) for name in (x, y, color) if name}}
    return Result([picture], {"points": Table(columns), "status": features.status})


def _groups(groups: dict[str, list[int]]) -> str:
    return ", ".join(f"{len(members)} {word}" for word, members in groups.items())
