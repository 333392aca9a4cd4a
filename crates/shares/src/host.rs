use std::fmt;
use std::str::FromStr;

use equicrypt_sealed::{Address, Fingerprint};

use crate::Error;

/// Which of the two hosts. They may change places: only what they are asked differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostName {
    /// Is sent masked vectors.
    A,
    /// Is sent counters of masks, and their seed.
    B,
}

/// Where a host is, and by what it is recognised: `unix:/path/of/a/socket`, or `tcp://host:port#fingerprint`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostAddress {
    /// Where it listens.
    pub address: Address,
    /// Of its transport key; a socket of this machine needs none.
    pub pin: Option<Fingerprint>,
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::B => "B",
        })
    }
}

impl fmt::Display for HostAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

impl FromStr for HostAddress {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |problem: String| Error::HostText {
            found: text.to_owned(),
            problem,
        };
        let (place, pin) = match text.split_once('#') {
            Some((place, pin)) => (place, Some(pin)),
            None => (text, None),
        };
        let address: Address = place.parse().map_err(|e| wrong(format!("{e}")))?;
        let pin = pin.map(str::parse).transpose();
        let pin = pin.map_err(|e: equicrypt_sealed::Error| wrong(e.to_string()))?;
        if pin.is_none() && matches!(address, Address::Tcp(_)) {
            return Err(wrong("the fingerprint is missing".to_owned()));
        }
        Ok(Self { address, pin })
    }
}

impl HostAddress {
    /// Whether both are the same host, as far as can be seen from here.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.address == other.address || (self.pin.is_some() && self.pin == other.pin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_a_fingerprint_where_one_is_needed() {
        let pin = "0123-4567-89ab-cdef-0123-4567-89ab-cdef";
        let host: HostAddress = format!("tcp://a.example:1#{pin}").parse().unwrap();
        assert_eq!(host.pin.unwrap().to_string(), pin);
        assert_eq!(host.to_string(), "tcp://a.example:1");
        assert_eq!("unix:/a".parse::<HostAddress>().unwrap().pin, None);
        for text in ["tcp://a.example:1", "tcp://a.example:1#12", "unix:", "#"] {
            let message = text.parse::<HostAddress>().unwrap_err().to_string();
            assert!(message.contains(&format!("{text:?}")), "{message}");
        }
    }

    #[test]
    fn one_key_is_one_host() {
        let parse = |text: String| text.parse::<HostAddress>().unwrap();
        let [one, two] = ["01", "23"].map(|byte| byte.repeat(16));
        let a = parse(format!("tcp://a.example:1#{one}"));
        assert!(a.is_same(&parse(format!("tcp://b.example:1#{one}"))));
        assert!(a.is_same(&parse(format!("tcp://a.example:1#{two}"))));
        assert!(!a.is_same(&parse(format!("tcp://b.example:1#{two}"))));
    }
}
