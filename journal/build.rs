//! Builds the crate again when there is another migration, which `migrate!` does not see by itself.

fn main() {
    println!("cargo:rerun-if-changed=../migrations");
}
