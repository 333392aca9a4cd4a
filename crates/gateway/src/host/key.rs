use std::hint::black_box;

use reqwest::header::HeaderValue;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::Error;

/// The host's API key. It cannot be printed, copied or serialised.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct ApiKey(String);

impl ApiKey {
    /// The key without the white space around it. Fails if it is empty or not visible ASCII.
    pub fn new(mut text: String) -> Result<Self, Error> {
        let key = text.trim().to_owned();
        text.zeroize();
        let key = Self(key);
        if key.0.is_empty() {
            return Err(Error::ApiKey("it is empty; write the key into the file"));
        }
        if !key.0.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::ApiKey(
                "expected one word of visible ASCII characters; check the file",
            ));
        }
        Ok(key)
    }

    /// Whether `given` is the key. How long the comparison takes depends on the length of `given`
    /// alone, so that timing it finds no byte of the key.
    pub(crate) fn matches(&self, given: &str) -> bool {
        let expected = self.0.bytes().chain(std::iter::repeat(0));
        let differences = given
            .bytes()
            .zip(expected)
            .fold(0, |seen, (a, b)| black_box(seen | (a ^ b)));
        (differences == 0) & (given.len() == self.0.len())
    }

    /// The value of the `Authorization` header, which HTTP clients do not print.
    pub(crate) fn header(&self) -> Result<HeaderValue, Error> {
        let text = Zeroizing::new(format!("Bearer {}", self.0));
        let mut value = HeaderValue::from_str(&text)
            .map_err(|_| Error::ApiKey("expected visible ASCII characters"))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_visible_word_and_its_header_is_not_printed() {
        let header = ApiKey::new(" abc-123\n".into()).unwrap().header().unwrap();
        assert_eq!(header, "Bearer abc-123");
        assert!(!format!("{header:?}").contains("abc"));
        for bad in ["", " \n", "two words", "line\nbreak", "é", "a\u{7f}"] {
            assert!(ApiKey::new(bad.into()).is_err(), "{bad:?}");
        }
    }
}
