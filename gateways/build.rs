//! Embeds what `web/` has built. Without it the binary still compiles, and says so where the pages would be.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let dist =
        Path::new(&env::var("CARGO_MANIFEST_DIR").expect("set by cargo")).join("../web/dist");
    println!("cargo:rerun-if-changed={}", dist.display());
    let mut files = Vec::new();
    collect(&dist, &mut files);
    files.sort();
    if files.is_empty() {
        println!(
            "cargo:warning=web/dist is empty: the overlay is not embedded (npm run build in web/)"
        );
    }
    let mut source = String::from("static PAGES: &[Page] = &[\n");
    for file in files {
        let name = file.strip_prefix(&dist).expect("below").to_string_lossy().into_owned();
        let Some(path) = served_as(&name) else { continue };
        let media_type = media_type(&name);
        source += &format!(
            "    Page {{ path: {path:?}, media_type: {media_type:?}, bytes: include_bytes!({:?}) }},\n",
            file.display().to_string(),
        );
    }
    source += "];\n";
    let out = PathBuf::from(env::var("OUT_DIR").expect("set by cargo")).join("pages.rs");
    fs::write(out, source).expect("OUT_DIR can be written");
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push(path);
        }
    }
}

/// `overlay.html` is `/overlay`, and its files are `/overlay/overlay.js` and so on: a file belongs to the page whose
/// name it begins with.
fn served_as(name: &str) -> Option<String> {
    if let Some(page) = name.strip_suffix(".html") {
        return Some(format!("/{page}"));
    }
    let page = name.split(['.', '-', '/']).next().filter(|page| !page.is_empty())?;
    match name.ends_with(".map") {
        true => None,
        false => Some(format!("/{page}/{name}")),
    }
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "woff2" => "font/woff2",
        "json" => "application/json",
        _ => "application/octet-stream",
    }
}
