"""The shop's things for tea, drawn: cup, teapot, tin, lantern and candle."""

from __future__ import annotations

import numpy as np

from overlay.demo.canvas import (
    Canvas,
    arc,
    barrel,
    both_sides,
    box,
    ellipse,
    mirrored,
    polygon,
    smooth,
    stroke,
)


def cup() -> Canvas:
    """A celadon cup on a saucer, with steam."""
    canvas = Canvas(("#f6efe2", "#ecdfca"))
    canvas.fill(ellipse(0.5, 0.46, 0.36), "#fbf6ec")
    canvas.shadow(0.5, 0.81, 0.40, 0.07, "#6b5a45", 0.45)
    canvas.fill(ellipse(0.5, 0.775, 0.34, 0.055), ("#8fbfae", "#6f9f90"))
    canvas.fill(ellipse(0.5, 0.765, 0.34, 0.052), ("#bfe0d3", "#a3cdbd"))
    canvas.fill(ellipse(0.5, 0.765, 0.20, 0.028), "#8fbcab")
    canvas.fill(stroke(arc(0.745, 0.53, 0.095, 0.10, -115, 125), 0.042), ("#a5d0c0", "#79ad9c"))
    body = both_sides(
        [(0.75, 0.40), (0.745, 0.50), (0.70, 0.62), (0.61, 0.72), (0.60, 0.765), (0.50, 0.775)]
    )
    inside = canvas.fill(body, ("#b7dccd", "#7fb3a2"))
    canvas.fill(ellipse(0.40, 0.50, 0.05, 0.30, 12), "#ffffff", opacity=0.28, within=inside)
    canvas.fill(ellipse(0.78, 0.62, 0.13, 0.32), "#4d8273", opacity=0.25, within=inside)
    for leaf in (-34, 0, 34):
        x = 0.55 + leaf * 0.0013
        canvas.fill(ellipse(x, 0.60, 0.014, 0.055, leaf), "#5f9584", opacity=0.8, within=inside)
    canvas.fill(
        stroke(smooth((0.55, 0.65), (0.552, 0.71), (0.547, 0.74), closed=False), 0.009), "#5f9584"
    )
    canvas.fill(ellipse(0.5, 0.40, 0.25, 0.052), "#d9efe5")
    tea = canvas.fill(ellipse(0.5, 0.407, 0.225, 0.040), ("#a9682c", "#c98a3c"))
    canvas.fill(ellipse(0.43, 0.397, 0.09, 0.012), "#f0c987", opacity=0.8, within=tea)
    for x in (0.42, 0.50, 0.58):
        steam = smooth(
            (x, 0.33), (x - 0.03, 0.27), (x + 0.02, 0.21), (x - 0.01, 0.14), closed=False
        )
        canvas.fill(stroke(steam, 0.016), "#d8c9ae", opacity=0.75)
    return canvas


def teapot() -> Canvas:
    """A clay teapot."""
    canvas = Canvas(("#dfe7e4", "#c9d6d3"))
    canvas.fill(ellipse(0.5, 0.5, 0.37), "#edf3f0")
    canvas.shadow(0.49, 0.795, 0.38, 0.06, "#3f4f4d", 0.5)
    handle = stroke(arc(0.735, 0.55, 0.135, 0.135, -118, 108), 0.05)
    canvas.fill(handle, ("#a4553a", "#7c3b28"))
    spout = smooth(
        (0.33, 0.66), (0.23, 0.60), (0.185, 0.50), (0.15, 0.435), (0.10, 0.415),
        (0.115, 0.385), (0.19, 0.40), (0.245, 0.46), (0.29, 0.52), (0.36, 0.53),
    )  # fmt: skip
    canvas.fill(spout, ("#b8623f", "#8c4530"))
    body = both_sides(
        [(0.60, 0.405), (0.70, 0.45), (0.755, 0.56), (0.72, 0.68), (0.63, 0.765), (0.5, 0.775)]
    )
    inside = canvas.fill(body, ("#c56d48", "#8c4530"))
    canvas.fill(ellipse(0.40, 0.54, 0.055, 0.11, 24), "#f3b48f", opacity=0.45, within=inside)
    canvas.fill(ellipse(0.80, 0.66, 0.20, 0.25), "#6b2f20", opacity=0.25, within=inside)
    band = stroke(smooth((0.24, 0.60), (0.5, 0.655), (0.76, 0.60), closed=False), 0.012)
    canvas.fill(band, "#e7b795", opacity=0.8, within=inside)
    canvas.fill(box(0.37, 0.765, 0.63, 0.79, 0.012), "#7c3b28")
    lid = both_sides([(0.5, 0.335), (0.56, 0.345), (0.605, 0.375), (0.61, 0.41), (0.5, 0.418)])
    canvas.fill(lid, ("#d07a54", "#a4553a"))
    canvas.fill(ellipse(0.5, 0.318, 0.034, 0.03), ("#d98a63", "#9c4f36"))
    canvas.fill(ellipse(0.49, 0.309, 0.010, 0.007), "#f6cdb3")
    return canvas


def tin() -> Canvas:
    """A tea tin with a mountain on its label."""
    canvas = Canvas(("#f3e3d3", "#e8cdb4"))
    canvas.fill(box(0, 0.74, 1, 1), ("#d9b08c", "#cfa17a"))
    canvas.shadow(0.53, 0.845, 0.32, 0.05, "#5b3b22", 0.55)
    inside = canvas.fill(barrel(0.28, 0.29, 0.72, 0.86, 0.035), ("#2f6a5a", "#204a3e"))
    canvas.fill(box(0.28, 0.28, 0.36, 0.87), "#ffffff", opacity=0.16, within=inside)
    canvas.fill(box(0.64, 0.28, 0.73, 0.87), "#000000", opacity=0.16, within=inside)
    canvas.fill(
        both_sides([(0.5, 0.165), (0.70, 0.185), (0.735, 0.21), (0.735, 0.31), (0.5, 0.325)]),
        ("#d8b25c", "#b88c38"),
    )
    canvas.fill(ellipse(0.5, 0.195, 0.225, 0.030), "#ecd08a")
    canvas.fill(ellipse(0.5, 0.192, 0.05, 0.010), "#c79f4b")
    label = canvas.fill(box(0.345, 0.42, 0.655, 0.735, 0.018), ("#fbf3e2", "#f3e6cb"))
    canvas.fill(ellipse(0.585, 0.505, 0.042), "#d9583b", within=label)
    far = polygon(
        (0.345, 0.66),
        (0.41, 0.56),
        (0.46, 0.61),
        (0.53, 0.52),
        (0.655, 0.67),
        (0.655, 0.735),
        (0.345, 0.735),
    )
    canvas.fill(far, "#8fb3a2", within=label)
    near = smooth(
        (0.33, 0.69),
        (0.42, 0.635),
        (0.52, 0.68),
        (0.60, 0.65),
        (0.67, 0.67),
        (0.67, 0.76),
        (0.33, 0.76),
    )
    canvas.fill(near, "#3f7462", within=label)
    for x, y, turn in ((0.20, 0.87, 60), (0.14, 0.84, 100), (0.80, 0.88, 115)):
        canvas.fill(ellipse(x, y, 0.018, 0.042, turn), "#56734a")
        canvas.fill(ellipse(x, y, 0.003, 0.036, turn), "#a9c092")
    return canvas


def lantern() -> Canvas:
    """A paper lantern in the dusk."""
    canvas = Canvas(("#26304f", "#4f4a6b"))
    canvas.shadow(0.5, 0.5, 0.52, 0.52, "#ffb765", 0.75)
    canvas.fill(stroke(polygon((0.5, -0.02), (0.5, 0.10), (0.5, 0.20)), 0.008), "#1c2238")
    body = both_sides(
        [(0.60, 0.225), (0.72, 0.29), (0.79, 0.43), (0.785, 0.55), (0.71, 0.68), (0.60, 0.74)]
    )
    inside = canvas.fill(body, ("#ffe9b8", "#ffb45e"))
    for width in (0.06, 0.13, 0.20, 0.26):
        rib = arc(0.5, 0.48, width, 0.30, -90, 270)
        canvas.fill(stroke(rib, 0.006), "#d9813a", opacity=0.55, within=inside)
    for y in np.linspace(0.29, 0.68, 7):
        ring = smooth((0.18, y - 0.008), (0.5, y + 0.012), (0.82, y - 0.008), closed=False)
        canvas.fill(stroke(ring, 0.004), "#d9813a", opacity=0.45, within=inside)
    canvas.fill(ellipse(0.5, 0.48, 0.13, 0.19), "#fff8e0", opacity=0.6, within=inside)
    branch = smooth((0.30, 0.62), (0.40, 0.55), (0.52, 0.52), (0.63, 0.43), closed=False)
    canvas.fill(stroke(branch, 0.012), "#7a3f26", within=inside)
    for x, y in ((0.40, 0.53), (0.48, 0.50), (0.55, 0.545), (0.61, 0.425), (0.345, 0.61)):
        for turn in range(0, 360, 72):
            angle = np.radians(turn)
            petal = x + 0.02 * np.sin(angle), y - 0.02 * np.cos(angle)
            canvas.fill(ellipse(*petal, 0.013, 0.016, turn), "#e2553f")
        canvas.fill(ellipse(x, y, 0.008), "#ffe2a0")
    for top in (0.195, 0.735):
        canvas.fill(box(0.39, top, 0.61, top + 0.035, 0.008), ("#8a4a2b", "#5f2f1b"))
    canvas.fill(stroke(polygon((0.5, 0.77), (0.5, 0.81)), 0.01), "#c8452f")
    canvas.fill(ellipse(0.5, 0.82, 0.02), "#e8b54f")
    for x in np.linspace(0.475, 0.525, 5):
        canvas.fill(stroke(polygon((0.5, 0.835), (x, 0.93)), 0.009), "#d9503a")
    return canvas


def candle() -> Canvas:
    """A beeswax candle, rolled from comb, in the dark of an evening."""
    canvas = Canvas(("#3b2f4a", "#5a4257"))
    canvas.shadow(0.5, 0.25, 0.48, 0.42, "#ffc46b", 0.85)
    canvas.fill(box(0, 0.83, 1, 1), ("#6f4a45", "#5b3b3a"))
    canvas.shadow(0.5, 0.87, 0.36, 0.05, "#1f1420", 0.6)
    canvas.fill(ellipse(0.5, 0.865, 0.27, 0.036), ("#c9b8a8", "#a08f84"))
    canvas.fill(ellipse(0.5, 0.856, 0.27, 0.034), ("#efe3d6", "#d5c4b5"))
    inside = canvas.fill(barrel(0.36, 0.425, 0.64, 0.867, 0.022), ("#f2bf55", "#d18f2f"))
    for row in range(15):
        for column in range(9):
            x = 0.36 + column * 0.04 + (row % 2) * 0.02
            y = 0.435 + row * 0.030
            cell = arc(x, y, 0.016, 0.017, 30, 330)
            canvas.fill(cell, "#b9741f", opacity=0.30, within=inside)
    canvas.fill(box(0.38, 0.40, 0.43, 0.87), "#fff1c2", opacity=0.35, within=inside)
    canvas.fill(box(0.57, 0.40, 0.65, 0.87), "#8a4f12", opacity=0.22, within=inside)
    canvas.fill(ellipse(0.5, 0.425, 0.14, 0.024), ("#fbe0a0", "#f3c869"))
    canvas.fill(ellipse(0.5, 0.428, 0.07, 0.011), "#fff3cc")
    canvas.fill(
        stroke(smooth((0.5, 0.425), (0.497, 0.39), (0.506, 0.355), closed=False), 0.010), "#3a2620"
    )
    flame = both_sides([(0.5, 0.155), (0.525, 0.22), (0.555, 0.30), (0.54, 0.36), (0.5, 0.38)])
    canvas.fill(flame, ("#ffd36b", "#ff9a3d"))
    canvas.fill(
        both_sides([(0.5, 0.24), (0.52, 0.29), (0.527, 0.335), (0.5, 0.37)]), ("#fff6d0", "#ffe08a")
    )
    drip = smooth((0.605, 0.435), (0.625, 0.48), (0.62, 0.53), (0.605, 0.54), (0.595, 0.50))
    canvas.fill(drip, "#f8d583")
    canvas.fill(mirrored(drip), "#f8d583", opacity=0.7)
    return canvas
