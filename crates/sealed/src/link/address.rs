use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::Error;

/// Where a host listens: `unix:/path/of/a/socket`, or `tcp://host:port`, or `host:port`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// A host name or an IP address, and a port.
    Tcp(String),
    /// A socket of this machine.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::Address {
            found: text.to_owned(),
        };
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path {
                "" => Err(wrong()),
                path => Ok(Self::Unix(path.into())),
            };
        }
        let place = text.strip_prefix("tcp://").unwrap_or(text);
        let (host, port) = place.rsplit_once(':').ok_or_else(wrong)?;
        let is_port = port.parse::<u16>().is_ok();
        let is_host = !host.is_empty() && !host.contains(['/', ' ', '@']);
        match is_port && is_host {
            true => Ok(Self::Tcp(place.to_owned())),
            false => Err(wrong()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(place) => write!(f, "tcp://{place}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_back_and_other_texts_are_named() {
        for text in ["tcp://a.example:8701", "tcp://[::1]:1", "unix:/run/a.sock"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        let same: Address = "127.0.0.1:8701".parse().unwrap();
        assert_eq!(same.to_string(), "tcp://127.0.0.1:8701");
        assert_eq!(
            "unix:///a".parse::<Address>().unwrap().to_string(),
            "unix:/a"
        );
        for text in ["", "a", "a:", ":1", "a:70000", "http://a:1", "unix:", "a:b"] {
            let message = text.parse::<Address>().unwrap_err().to_string();
            assert!(message.contains(&format!("{text:?}")), "{message}");
        }
    }
}
