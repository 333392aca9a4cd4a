use reqwest::Url;

use crate::Error;
use crate::terminal::one_line;

/// `http://NAME[:PORT][/PREFIX]`, and nothing else.
pub(super) fn parse(text: &str) -> Result<Url, Error> {
    let wrong = |reason| {
        Err(Error::Url {
            url: one_line(text),
            reason,
        })
    };
    let Ok(url) = Url::parse(text) else {
        return wrong("expected http://HOST[:PORT][/PREFIX]");
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::Url {
            url: "(hidden, it holds a password)".into(),
            reason: "a name or password in the address would be logged; give --api-key-file",
        });
    }
    match url.scheme() {
        "http" => {}
        "https" => {
            return wrong(
                "https is not in this build; run a TLS tunnel on this machine (stunnel, \
                 ssh -L) and give its http://127.0.0.1 address",
            );
        }
        _ => return wrong("expected http://HOST[:PORT][/PREFIX]"),
    }
    if url.query().is_some() || url.fragment().is_some() {
        return wrong("expected no ?query and no #fragment");
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_http_addresses_are_taken() {
        for good in [
            "http://127.0.0.1:8700",
            "http://host/",
            "http://host/a/b/",
            "HTTP://[::1]:1",
        ] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for (bad, advice) in [
            ("https://host", "TLS tunnel"),
            ("127.0.0.1:8700", "http://HOST"),
            ("localhost:8700", "http://HOST"),
            ("ftp://host", "http://HOST"),
            ("", "http://HOST"),
            ("http://", "http://HOST"),
            ("http://host/?a=b", "?query"),
            ("http://host/#a", "#fragment"),
        ] {
            let message = parse(bad).unwrap_err().to_string();
            assert!(message.contains(advice), "{bad}: {message}");
        }
    }

    #[test]
    fn a_password_in_the_address_is_refused_unprinted() {
        let message = parse("http://me:hunter2@host").unwrap_err().to_string();
        assert!(
            message.contains("--api-key-file") && !message.contains("hunter2"),
            "{message}"
        );
    }
}
