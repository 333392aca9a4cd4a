use std::time::Duration;

use axum::body::Bytes;
use equicrypt_sealed::{CONTENT_TYPE as SEALED, Head, ResponseOpener};
use reqwest::Response;
use reqwest::header::CONTENT_TYPE;

use super::failure::{connection, silence};
use crate::Error;
use crate::terminal::excerpt;

/// The body of an answer as it comes, opened if it is sealed.
pub(crate) struct Incoming {
    response: Response,
    opener: Option<ResponseOpener>,
    /// What came with the head.
    ready: Vec<u8>,
    url: String,
    silence: Duration,
}

impl Incoming {
    /// An answer from the host at this address, given up after so long without a byte.
    pub(super) fn plain(response: Response, url: String, silence: Duration) -> Self {
        Self {
            response,
            opener: None,
            ready: Vec::new(),
            url,
            silence,
        }
    }

    /// The same of one that is sealed, and what it begins with.
    pub(super) async fn sealed(
        mut self,
        mut opener: ResponseOpener,
    ) -> Result<(Self, Head), Error> {
        loop {
            let Some(bytes) = self.received().await? else {
                opener.finish().map_err(|source| self.broken(source))?;
                return Err(self.broken(equicrypt_sealed::Error::Unopenable));
            };
            let pushed = opener.push(&bytes, &mut self.ready);
            pushed.map_err(|source| self.broken(source))?;
            if let Some(head) = opener.head() {
                let head = head.clone();
                self.opener = Some(opener);
                return Ok((self, head));
            }
        }
    }

    /// The next bytes; none at the end, which of a sealed answer is the end that the host sealed.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        if !self.ready.is_empty() {
            return Ok(Some(std::mem::take(&mut self.ready).into()));
        }
        loop {
            let bytes = self.received().await?;
            let (Some(opener), bytes) = (&mut self.opener, &bytes) else {
                return Ok(bytes);
            };
            let mut out = Vec::new();
            let opened = match bytes {
                Some(bytes) => opener.push(bytes, &mut out),
                None => opener.finish(),
            };
            opened.map_err(|source| self.broken(source))?;
            match bytes {
                Some(_) if out.is_empty() => {}
                Some(_) => return Ok(Some(out.into())),
                None => return Ok(None),
            }
        }
    }

    /// Whether it has an end that the host sealed.
    pub(crate) fn is_sealed(&self) -> bool {
        self.opener.is_some()
    }

    /// Reads on to the end that the host sealed, if it is sealed: what was read is all of it.
    pub(crate) async fn is_whole(&mut self) -> Result<(), Error> {
        let mut more = 0;
        while self.opener.is_some()
            && let Some(bytes) = self.chunk().await?
        {
            more += bytes.len();
            if more > MOST_BEHIND {
                return Err(Error::Protocol {
                    url: self.url.clone(),
                    expected: "the end of the stream after [DONE]",
                    found: "more".into(),
                });
            }
        }
        Ok(())
    }

    /// What it says that it is, outside.
    pub(super) fn kind(&self) -> String {
        kind(&self.response)
    }

    async fn received(&mut self) -> Result<Option<Bytes>, Error> {
        tokio::time::timeout(self.silence, self.response.chunk())
            .await
            .map_err(|_| silence(self.url.clone(), self.silence))?
            .map_err(|error| connection(self.url.clone(), &error))
    }

    fn broken(&self, source: equicrypt_sealed::Error) -> Error {
        Error::SealedAnswer {
            url: self.url.clone(),
            source,
        }
    }
}

/// The content type, made safe for a terminal.
fn kind(response: &Response) -> String {
    let kind = response.headers().get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or("none");
    excerpt(kind)
}

/// Whether it says that it is sealed.
pub(super) fn is_sealed(response: &Response) -> bool {
    kind(response).eq_ignore_ascii_case(SEALED)
}

/// Bytes that may follow the end of an answer, inside: comments that keep a connection alive.
const MOST_BEHIND: usize = 64 << 10;
