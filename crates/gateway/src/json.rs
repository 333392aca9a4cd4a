use serde_json::Value;

/// How Python's `json.dumps` writes.
pub(crate) struct Style {
    /// Between members; `None` for Python's default.
    pub(crate) separators: Option<(String, String)>,
    /// Spaces for each level, on lines of their own.
    pub(crate) indent: Option<usize>,
    /// Other characters than ASCII as `\u` escapes.
    pub(crate) ascii: bool,
    /// Members of objects in the order of their keys.
    pub(crate) sorted: bool,
}

/// The value as Python's `json.dumps(value, ensure_ascii, indent, separators, sort_keys)` writes
/// it: chat templates show models JSON in exactly this form. Floats are written in Rust's shortest
/// form, which differs in the exponent.
pub(crate) fn dumps(value: &Value, style: &Style) -> String {
    let (item, key) = match &style.separators {
        Some((item, key)) => (item.as_str(), key.as_str()),
        None if style.indent.is_some() => (",", ": "),
        None => (", ", ": "),
    };
    let mut writer = Writer {
        style,
        item,
        key,
        out: String::new(),
    };
    writer.value(value, 0);
    writer.out
}

struct Writer<'a> {
    style: &'a Style,
    item: &'a str,
    key: &'a str,
    out: String,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, depth: usize) {
        match value {
            Value::Array(items) if !items.is_empty() => {
                self.out.push('[');
                for (i, item) in items.iter().enumerate() {
                    self.between(i, depth + 1);
                    self.value(item, depth + 1);
                }
                self.line(depth);
                self.out.push(']');
            }
            Value::Object(members) if !members.is_empty() => {
                let mut members: Vec<_> = members.iter().collect();
                if self.style.sorted {
                    members.sort_by_key(|(key, _)| *key);
                }
                self.out.push('{');
                for (i, (key, value)) in members.into_iter().enumerate() {
                    self.between(i, depth + 1);
                    self.string(key);
                    self.out.push_str(self.key);
                    self.value(value, depth + 1);
                }
                self.line(depth);
                self.out.push('}');
            }
            Value::String(text) => self.string(text),
            other => self.out.push_str(&other.to_string()),
        }
    }

    fn between(&mut self, index: usize, depth: usize) {
        if index > 0 {
            self.out.push_str(self.item);
        }
        self.line(depth);
    }

    fn line(&mut self, depth: usize) {
        if let Some(indent) = self.style.indent {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(' ', indent * depth));
        }
    }

    fn string(&mut self, text: &str) {
        let quoted = Value::from(text).to_string();
        if !self.style.ascii {
            self.out.push_str(&quoted);
            return;
        }
        for c in quoted.chars() {
            if matches!(c, ' '..='~') {
                self.out.push(c);
            } else {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    self.out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The expected texts are the output of CPython 3's `json.dumps`.
    #[test]
    fn as_python_writes_it() {
        let value =
            json!({"b": [1, 2.5, {}, []], "a": "<é> \"😀\"\n\u{1}\u{7f}", "c": null, "d": true});
        let style = |indent, ascii, sorted| Style {
            separators: None,
            indent,
            ascii,
            sorted,
        };
        assert_eq!(
            dumps(&value, &style(None, false, false)),
            r#"{"b": [1, 2.5, {}, []], "a": "<é> \"😀\"\n\u0001DEL", "c": null, "d": true}"#
                .replace("DEL", "\u{7f}")
        );
        assert_eq!(
            dumps(&value, &style(None, true, true)),
            r#"{"a": "<\u00e9> \"\ud83d\ude00\"\n\u0001\u007f", "b": [1, 2.5, {}, []], "c": null, "d": true}"#
        );
        assert_eq!(
            dumps(
                &json!({"a": [1, {"b": 2}], "c": {}}),
                &style(Some(2), false, false)
            ),
            "{\n  \"a\": [\n    1,\n    {\n      \"b\": 2\n    }\n  ],\n  \"c\": {}\n}"
        );
        let tight = Style {
            separators: Some((",".into(), ":".into())),
            ..style(None, false, false)
        };
        assert_eq!(dumps(&json!([1, {"a": 2}]), &tight), r#"[1,{"a":2}]"#);
    }
}
