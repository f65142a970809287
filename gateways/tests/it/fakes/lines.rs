//! Lines of chat over IRC.

use gateways::sandbox::irc;
use gateways::simulate::Viewer;

/// A line of a viewer whose names are made of their id.
pub fn privmsg(id: &str, viewer: &str, text: &str, tags: &str) -> String {
    let (login, name) = (format!("viewer_{viewer}"), format!("Viewer_{viewer}"));
    irc::line(id, &Viewer::new(viewer, &login, &name), text, tags)
}
