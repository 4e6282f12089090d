//! Where figures keep their journals.

use bus::program::Failure;

/// A directory on disk that is removed at the end: beside the build where there is one, since the temporary directory
/// may be memory.
pub(crate) fn directory() -> Result<tempfile::TempDir, Failure> {
    let target = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    let target = if target.is_dir() { target } else { std::env::temp_dir() };
    tempfile::tempdir_in(target).map_err(|error| Failure::new("no scratch directory", error, "make room"))
}
