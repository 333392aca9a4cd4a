//! What the commands for encoders have in common.

use std::io::BufRead;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use equicrypt_cipher::MasterKey;
use equicrypt_gateway::{ApiKey, EncoderOwner, EncoderSession, Host, Long, Prepared};
use equicrypt_spec::Manifest;

use crate::args::EncoderArgs;
use crate::commands::owner_engine::OwnerEngine;
use crate::commands::sealing::seal;
use crate::commands::tokens::read_manifest;
use crate::key;

/// An encoder that can be asked: everything has been checked, nothing has been sent.
pub(super) struct Remote {
    pub(super) session: EncoderSession,
    pub(super) host: Host,
    pub(super) key: MasterKey,
    pub(super) manifest: Manifest,
    long: Long,
    /// Where two hosts compute its linear layers.
    _engine: Option<OwnerEngine>,
}

impl Remote {
    /// Reads the owner's files, and the manifest.
    pub(super) async fn open(args: &EncoderArgs) -> Result<Self> {
        let owner = EncoderOwner::open(&args.model)?;
        let (host, key, engine) = match &args.key {
            Some(key) => {
                let key = key::open(key)?;
                let api_key = args.api_key_file.as_deref().map(key::first_line);
                let api_key = api_key.transpose()?.map(ApiKey::new).transpose()?;
                let host = Host::new(&args.host, api_key.as_ref())?;
                (host.sealing(seal(&args.sealing)?), key, None)
            }
            None => {
                let start = OwnerEngine::start(&args.model, &args.shares, SILENCE, 0, None);
                let (engine, key) = start.await?;
                (engine.host()?, key, Some(engine))
            }
        };
        let manifest = match &args.manifest {
            Some(path) => read_manifest(path)?,
            None => host.manifest().await?,
        };
        Ok(Self {
            session: EncoderSession::open(owner, &key, &manifest)?,
            host: host.contacted().await?,
            key,
            manifest,
            long: match args.refuse_long {
                true => Long::Refuse,
                false => Long::Truncate,
            },
            _engine: engine,
        })
    }

    pub(super) fn owner(&self) -> &EncoderOwner {
        self.session.owner()
    }

    /// A text in ids; `number` is which, from 0, for an error.
    pub(super) fn encode(&self, number: usize, text: &str) -> Result<Prepared> {
        let encoded = self.owner().encode(text, self.long);
        encoded.with_context(|| format!("text {}", number + 1))
    }

    /// The same of a query and a document.
    pub(super) fn encode_pair(&self, number: usize, query: &str, text: &str) -> Result<Prepared> {
        let encoded = self.owner().encode_pair(query, text, self.long);
        encoded.with_context(|| format!("document {}", number + 1))
    }
}

/// The texts of the arguments, or the lines of standard input.
pub(super) fn texts(given: &[String]) -> Box<dyn Iterator<Item = Result<String>> + '_> {
    if !given.is_empty() {
        return Box::new(given.iter().map(|text| Ok(text.clone())));
    }
    let lines = std::io::stdin().lock().lines().enumerate();
    Box::new(lines.map(|(number, line)| {
        line.with_context(|| format!("cannot read line {} of standard input", number + 1))
    }))
}

/// The next texts, ready to be sent together; none at the end.
pub(super) fn batch(
    texts: &mut impl Iterator<Item = (usize, Result<String>)>,
    most: u16,
    mut encode: impl FnMut(usize, &str) -> Result<Prepared>,
) -> Result<Vec<Prepared>> {
    let next = texts.take(usize::from(most));
    next.map(|(number, text)| encode(number, &text?)).collect()
}

/// A command that prints nothing for no texts would look as if it had failed.
pub(super) fn demand_texts(count: usize) -> Result<()> {
    if count == 0 {
        bail!("no texts; give them as arguments, or one a line on standard input");
    }
    Ok(())
}

/// How long a host of shares may take for an answer.
const SILENCE: Duration = Duration::from_secs(120);
