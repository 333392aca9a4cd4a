//! Requests that only the host's process opens. What was sealed once is never sent unsealed.

use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use equicrypt_sealed::{CONTENT_TYPE as SEALED, Fingerprint, TransportPublic, Window, seal};
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use serde_json::Value;

use super::incoming::{Incoming, is_sealed};
use super::{Exchange, Host, HostKeys, MOST_BODY, refused};
use crate::Error;

/// How requests with cipher ids are sealed to a host. Only equicrypt's server opens sealed ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seal {
    /// Not at all.
    Off,
    /// To the key that the host has on first contact, and to no other one afterwards. To other engines not at all.
    FirstContact(HostKeys),
    /// To this key.
    To(Pin),
}

/// A transport key, or its fingerprint, that a host must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pin {
    /// The key.
    Key(TransportPublic),
    /// What people compare.
    Fingerprint(Fingerprint),
}

/// What requests to one host are sealed to, and in which window.
pub(super) struct Sealed {
    public: TransportPublic,
    window: Mutex<Window>,
}

impl Host {
    /// The same host, with what is sent sealed like this.
    #[must_use]
    pub fn sealing(mut self, seal: Seal) -> Self {
        self.seal = seal;
        self
    }

    /// The same host after first contact: it is asked whether it is equicrypt's server, and for its key if so.
    ///
    /// # Errors
    /// If it has another key than it must have, or none.
    pub async fn contacted(self) -> Result<Self, Error> {
        if self.seal == Seal::Off {
            return Ok(self);
        }
        let models = self.models().await?;
        let owner = models.pointer("/data/0/owned_by").and_then(Value::as_str);
        let is_ours = owner == Some("equicrypt") || models.pointer("/data/0/equicrypt").is_some();
        self.meet(is_ours).await
    }

    /// What requests are sealed to; none if they are not.
    #[must_use]
    pub fn sealed_to(&self) -> Option<Fingerprint> {
        (self.sealed.as_ref()).map(|sealed| sealed.public.fingerprint())
    }

    /// Whether it opens sealed requests is known now.
    pub(super) async fn meet(mut self, opens: bool) -> Result<Self, Error> {
        let pinned = match (&self.seal, opens) {
            (Seal::Off, _) => return Ok(self),
            (Seal::To(_), true) => None,
            (Seal::FirstContact(keys), _) => keys.of(&self.name())?,
            (Seal::To(_), false) => return Err(Error::CannotOpen { url: self.name() }),
        };
        if !opens {
            return match (pinned, &self.seal) {
                (Some(pinned), Seal::FirstContact(keys)) => Err(Error::NoHostKey {
                    url: self.name(),
                    problem: format!(
                        "it no longer says that it is equicrypt's server, and its key {} is in {}",
                        pinned.fingerprint(),
                        keys.path().display()
                    ),
                }),
                _ => Ok(self),
            };
        }
        let (public, window) = self.offered().await?;
        let expected = match &self.seal {
            Seal::FirstContact(keys) => Pin::Key(keys.keep(&self.name(), &public)?),
            Seal::To(pin) => pin.clone(),
            Seal::Off => return Ok(self),
        };
        if !expected.is(&public) {
            return Err(self.changed(&expected.fingerprint(), &public));
        }
        self.sealed = Some(
            Sealed {
                public,
                window: Mutex::new(window),
            }
            .into(),
        );
        Ok(self)
    }

    /// Sends a body with cipher ids, sealed or not, and shows it to whoever listens. Returns an answer of status 200 and its
    /// content type.
    pub(super) async fn post(
        &self,
        route: &'static str,
        body: Vec<u8>,
        exchange: Option<&Exchange>,
    ) -> Result<(Incoming, String), Error> {
        let post = || self.addressed(self.client.post(self.route(route)));
        let Some(sealed) = &self.sealed else {
            let request = post().header(CONTENT_TYPE, "application/json").body(body);
            let response = self.send_seen(request, exchange).await?;
            let incoming = self.incoming(response);
            let kind = incoming.kind();
            return Ok((incoming, kind));
        };
        let mut first = true;
        loop {
            let seals = seal(
                &sealed.public,
                &sealed.window(),
                &format!("POST /{route}"),
                &body,
            );
            let (bytes, opener) = seals.map_err(|source| Error::Sealing {
                url: self.name(),
                source,
            })?;
            let request = post().header(CONTENT_TYPE, SEALED).body(bytes);
            let response = self.transmit(request).await?;
            let status = response.status();
            if is_sealed(&response) {
                let (incoming, head) = self.incoming(response).sealed(opener).await?;
                sealed.set(head.window);
                if head.status == StatusCode::OK.as_u16() {
                    return Ok((incoming, head.content_type));
                }
                return Err(self.refusal(head.status, incoming, exchange).await);
            }
            // A host that does not open a request cannot seal the reason.
            match status {
                StatusCode::OK => {
                    return Err(self.protocol("a sealed answer", "one that is not sealed"));
                }
                StatusCode::CONFLICT if first => self.renew(sealed).await?,
                StatusCode::BAD_REQUEST => {
                    self.renew(sealed).await?;
                    let incoming = self.incoming(response);
                    return Err(self.refusal(status.as_u16(), incoming, exchange).await);
                }
                _ => {
                    let incoming = self.incoming(response);
                    return Err(self.refusal(status.as_u16(), incoming, exchange).await);
                }
            }
            first = false;
        }
    }

    /// Takes the window that the host has now.
    async fn renew(&self, sealed: &Sealed) -> Result<(), Error> {
        let (public, window) = self.offered().await?;
        if public != sealed.public {
            return Err(self.changed(&sealed.public.fingerprint(), &public));
        }
        sealed.set(window);
        Ok(())
    }

    /// The key and the window that the host has now: `GET /transport-key`.
    async fn offered(&self) -> Result<(TransportPublic, Window), Error> {
        let response = self
            .send(self.client.get(self.route("transport-key")))
            .await;
        let response = response.map_err(|error| match error {
            Error::Refused { status: 404, .. } => Error::NoHostKey {
                url: self.name(),
                problem: "it offers none".into(),
            },
            error => error,
        })?;
        let body = self.body(self.incoming(response), MOST_BODY).await?;
        let offer: Option<Value> = serde_json::from_slice(&body).ok();
        let text = |name: &str| offer.as_ref()?.get(name)?.as_str();
        let key = text("key").and_then(|key| key.parse().ok());
        let window = text("window").and_then(|window| window.parse().ok());
        key.zip(window)
            .ok_or_else(|| self.protocol("a key and a window from /transport-key", "others"))
    }

    async fn refusal(&self, status: u16, incoming: Incoming, exchange: Option<&Exchange>) -> Error {
        if status == StatusCode::MISDIRECTED_REQUEST.as_u16() {
            let (url, field) = (self.name(), "epoch");
            return Error::OtherManifest { url, field };
        }
        let body = self.error_body(incoming, exchange).await;
        refused(self.name(), status, body.as_ref())
    }

    fn changed(&self, expected: &Fingerprint, found: &TransportPublic) -> Error {
        let (pinned, advice) = match &self.seal {
            Seal::FirstContact(keys) => (
                "on first contact",
                format!("remove its line from {}", keys.path().display()),
            ),
            Seal::To(_) | Seal::Off => ("by --seal-to", format!("give --seal-to {found}")),
        };
        Error::ChangedHostKey {
            url: self.name(),
            expected: expected.to_string(),
            found: found.fingerprint().to_string(),
            pinned,
            advice,
        }
    }
}

impl Sealed {
    fn window(&self) -> Window {
        *self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, window: Window) {
        *self.window.lock().unwrap_or_else(PoisonError::into_inner) = window;
    }
}

impl Pin {
    fn is(&self, public: &TransportPublic) -> bool {
        match self {
            Self::Key(key) => key == public,
            Self::Fingerprint(fingerprint) => *fingerprint == public.fingerprint(),
        }
    }

    fn fingerprint(&self) -> Fingerprint {
        match self {
            Self::Key(key) => key.fingerprint(),
            Self::Fingerprint(fingerprint) => *fingerprint,
        }
    }
}

impl FromStr for Pin {
    type Err = equicrypt_sealed::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim().starts_with("equicrypt-") {
            true => text.parse().map(Self::Key),
            false => text.parse().map(Self::Fingerprint),
        }
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fingerprint().fmt(f)
    }
}

#[cfg(test)]
mod tests;
