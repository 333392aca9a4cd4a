//! What a model's folder is called.

use std::path::Path;

/// Its last part, of `.` and the like too.
pub(super) fn name(folder: &Path) -> String {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let name = folder.file_name().unwrap_or(folder.as_os_str());
    name.to_string_lossy().into_owned()
}
