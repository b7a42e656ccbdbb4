"""What the screen shows: the CT in its window, and the organs that lie over it."""

import pytest
import review_cohort as cohort

pytestmark = pytest.mark.timeout(240)

VOXELS = {"body": (5, 5, 10), "liver": (26, 15, 10), "spleen": (10, 20, 10)}
"""That of the liver lies in a row without spleen: whether what an overlay left there goes is seen."""
HU = {"body": cohort.BODY_HU, "liver": cohort.LIVER_HU, "spleen": cohort.SPLEEN_HU}
WINDOWS = {"Soft tissue": (-160, 240), "Liver": (-20, 180), "Brain": (0, 80)}


def looks_like_hu(colour: tuple[int, int, int], name: str, window: str) -> bool:
    """Is it the grey of that HU's place in the window?"""
    low, high = WINDOWS[window]
    grey = 255 * min(1.0, max(0.0, (HU[name] - low) / (high - low)))
    return all(abs(channel - grey) <= 3 for channel in colour)


def is_coloured(colour: tuple[int, int, int]) -> bool:
    return max(colour) - min(colour) > 20


def test_grey_as_the_hu_says_and_organs_in_colour_until_they_are_hidden(tab):
    anna = tab()
    anna.open("seen", "liver")

    def shows(window: str, *in_colour: str) -> None:
        anna.wait_for_colours(
            VOXELS,
            lambda seen: all(
                is_coloured(colour) if name in in_colour else looks_like_hu(colour, name, window)
                for name, colour in seen.items()
            ),
        )

    shows("Soft tissue", "liver", "spleen")
    anna.press("d")
    shows("Soft tissue", "spleen")
    anna.press("w")
    shows("Liver", "spleen")
    anna.press("q")
    shows("Liver")
    anna.press("d")
    shows("Liver", "liver")
    anna.press("q")
    shows("Liver", "liver", "spleen")
    anna.open("seen", "spleen")
    anna.press("d")
    shows("Liver", "liver")
    anna.open("seen", "liver")
    shows("Liver", "spleen")
    anna.press("d")
    shows("Liver", "liver", "spleen")
    anna.open("away", "spleen")
    shows("Liver", "liver", "spleen")


def test_without_a_graphics_card_the_page_says_where_3_d_is(tab):
    """Chromium draws on the processor here; three slices are shown, and 3-D is a key away."""
    anna = tab()
    anna.open("seen", "spleen")
    anna.press("4")
    note = "getComputedStyle(document.querySelector('.viewer'), '::after').content"
    assert "3-D" in anna.page.evaluate(note)
    anna.press("5")
    assert anna.page.evaluate(note) == "none"
