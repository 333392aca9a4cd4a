use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use serde_json::Value;

use crate::Error;

/// The JSON object in `file`, its keys in file order.
///
/// # Errors
/// If the file cannot be read, is larger than 64 MiB, is not JSON, or is not an object.
pub fn read_json(file: &Path) -> Result<Value, Error> {
    read_any(file, Value::is_object, "a JSON object was expected")
}

/// The JSON list in `file`.
///
/// # Errors
/// As [`read_json`], if it is not a list.
pub fn read_list(file: &Path) -> Result<Value, Error> {
    read_any(file, Value::is_array, "a JSON list was expected")
}

fn read_any(file: &Path, fits: fn(&Value) -> bool, expected: &str) -> Result<Value, Error> {
    let size = fs::metadata(file).map_err(Error::io("read", file))?.len();
    let problem = |problem: String| Error::Json {
        file: file.to_path_buf(),
        problem,
    };
    if size > MAX_JSON_BYTES {
        return Err(problem(format!(
            "{size} bytes, but at most {MAX_JSON_BYTES} are read"
        )));
    }
    let bytes = fs::read(file).map_err(Error::io("read", file))?;
    let value: Value =
        serde_json::from_slice(&bytes).map_err(|error| problem(format!("not JSON: {error}")))?;
    if !fits(&value) {
        return Err(problem(expected.to_owned()));
    }
    Ok(value)
}

/// Writes `value`, indented, to a new file.
///
/// # Errors
/// If the file exists or cannot be written.
pub fn write_json(file: &Path, value: &Value) -> Result<(), Error> {
    let mut text = format!("{value:#}");
    text.push('\n');
    let mut out = File::create_new(file).map_err(Error::io("create", file))?;
    out.write_all(text.as_bytes())
        .map_err(Error::io("write", file))
}

const MAX_JSON_BYTES: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_an_object_is_refused_with_the_file_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        for (text, expected) in [
            ("[1]", "object"),
            ("{\"a\":", "not JSON"),
            ("", "not JSON"),
            ("\u{0}", "not JSON"),
        ] {
            fs::write(&file, text).unwrap();
            let message = read_json(&file).unwrap_err().to_string();
            assert!(
                message.contains("config.json") && message.contains(expected),
                "{message}"
            );
        }
        fs::write(&file, b"{\"a\": \"\xff\"}").unwrap();
        assert!(read_json(&file).is_err());
        fs::write(&file, "[".repeat(1 << 20)).unwrap();
        assert!(read_json(&file).is_err());
    }

    #[test]
    fn an_existing_file_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        write_json(&file, &serde_json::json!({"a": 1})).unwrap();
        assert!(write_json(&file, &serde_json::json!({"a": 2})).is_err());
        assert_eq!(read_json(&file).unwrap(), serde_json::json!({"a": 1}));
    }
}
