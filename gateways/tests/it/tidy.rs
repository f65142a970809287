//! The shape of the tree: what may depend on what, how long things may be, and what must not be in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const LINES_MAX: usize = 400;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

fn manifest(package: &str) -> String {
    std::fs::read_to_string(root().join(package).join("Cargo.toml")).expect("a manifest")
}

/// The names in `[dependencies]`.
fn dependencies(package: &str) -> Vec<String> {
    let manifest = manifest(package);
    let section = manifest.split("[dependencies]").nth(1).unwrap_or_default();
    let section = section.split("\n[").next().unwrap_or_default();
    let names = section.lines().filter_map(|line| line.split(['.', ' ', '=']).next());
    names.filter(|name| !name.is_empty() && !name.starts_with('#')).map(str::to_owned).collect()
}

/// Every file git tracks with one of `endings`.
fn tracked(endings: &[&str]) -> Vec<PathBuf> {
    let output = std::process::Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git is there");
    let files = String::from_utf8(output.stdout).expect("names in UTF-8");
    let files =
        files.split('\0').filter(|name| endings.iter().any(|ending| name.ends_with(ending)));
    files.map(|name| root().join(name)).filter(|path| path.is_file()).collect()
}

#[test]
fn the_crates_depend_in_one_direction() {
    let crates = ["domain", "journal", "projections", "gateways"];
    for (n, package) in crates.iter().enumerate() {
        let dependencies = dependencies(package);
        for later in &crates[n..] {
            assert!(!dependencies.iter().any(|name| name == later), "{package} depends on {later}");
        }
    }
}

#[test]
fn the_domain_can_do_no_input_or_output() {
    let allowed = ["chrono", "cqrs-es", "serde", "serde_json", "thiserror", "uuid"];
    for name in dependencies("domain") {
        assert!(allowed.contains(&name.as_str()), "domain depends on {name}");
    }
    let workspace = std::fs::read_to_string(root().join("Cargo.toml")).expect("the workspace");
    for (package, feature) in [("chrono", "clock"), ("uuid", "v4")] {
        let line = workspace.lines().find(|line| line.starts_with(&format!("{package} =")));
        assert!(!line.expect("a dependency").contains(feature), "{package} has {feature}");
        assert!(!manifest("domain").contains(feature), "domain turns {feature} on");
    }
}

#[test]
fn sums_are_checked_in_what_is_released() {
    let workspace = std::fs::read_to_string(root().join("Cargo.toml")).expect("the workspace");
    let release = workspace.split("[profile.release]").nth(1).expect("a release profile");
    assert!(release.split("\n[").next().expect("its lines").contains("overflow-checks = true"));
}

#[test]
fn no_file_is_too_long_to_read() {
    let sources = tracked(&[".rs", ".ts"]);
    let long = sources.iter().filter(|path| !path.to_string_lossy().contains("/tests/"));
    let long: Vec<String> = long
        .filter_map(|path| {
            let lines = std::fs::read_to_string(path).ok()?.lines().count();
            (lines > LINES_MAX).then(|| format!("{} has {lines} lines", path.display()))
        })
        .collect();
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn nothing_is_left_open_and_no_module_is_a_drawer() {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("un", "implemented!(")];
    for path in tracked(&[".rs", ".ts", ".sql"]) {
        let text = std::fs::read_to_string(&path).expect("text");
        for mark in marks {
            assert!(!text.contains(mark), "{} says {mark}", path.display());
        }
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let drawers = ["utils", "util", "helpers", "helper", "common", "manager"];
        assert!(!drawers.contains(&stem), "{} is a drawer", path.display());
    }
}

#[test]
fn no_migration_is_edited_that_databases_have() {
    let list = root().join("gateways/tests/data/migrations.txt");
    let list = std::fs::read_to_string(list).expect("the list");
    let listed: BTreeMap<&str, &str> = list.lines().filter_map(|row| row.split_once(' ')).collect();
    for migration in journal::MIGRATOR.iter() {
        let (number, sum) = (format!("{:04}", migration.version), hex::encode(&migration.checksum));
        match listed.get(number.as_str()) {
            Some(landed) => assert_eq!(*landed, sum, "write another migration; {number} stays"),
            None => panic!("a new migration: append to tests/data/migrations.txt {number} {sum}"),
        }
    }
}

#[test]
fn every_test_that_a_weakness_names_is_there() {
    let map = std::fs::read_to_string(root().join("docs/weaknesses.md")).expect("the map");
    let tests: String = tracked(&[".rs", ".test.ts"])
        .iter()
        .map(|path| std::fs::read_to_string(path).expect("text"))
        .collect();
    let rows: Vec<&str> = map.lines().filter(|line| line.starts_with("| W")).collect();
    assert_eq!(rows.len(), 39);
    for row in rows {
        let (weakness, held) = row.rsplit_once(" | ").expect("a cell");
        let rust = held.split('`').skip(1).step_by(2).map(|name| format!("fn {name}()"));
        let pages = held.split('"').skip(1).step_by(2).map(|name| format!("it(\"{name}\""));
        for test in rust.chain(pages) {
            assert!(tests.contains(&test), "{weakness}: there is no {test}");
        }
    }
}
