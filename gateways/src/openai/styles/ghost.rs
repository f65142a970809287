//! A ghost as it comes from an old tape.

use super::Brief;

/// What it glows best on.
const BACKGROUND: &str = "#000000";

const BEFORE: &str = "The friendly ghost of \"";
const AFTER: &str = "\", taken literally, as one thing and as nothing else that those words may ask for. \
    It looks like a recording on a video cassette that was played too often: the ghost is pale and lets light through, \
    glows at its edges and fades away below; thin lines run across the picture, colours have slipped a little to the \
    side, and near the lower edge the tracking is lost. It floats alone in the middle of a room so dark that nothing \
    of it can be seen. Strange and a little funny, never bloody. No lettering, no numbers, no frame around it.";

pub(super) fn brief(subject: &str) -> Brief {
    Brief {
        subject: subject.to_owned(),
        prompt: format!("{BEFORE}{subject}{AFTER}"),
        background: BACKGROUND.to_owned(),
        name: None,
        cut_out: false,
    }
}
