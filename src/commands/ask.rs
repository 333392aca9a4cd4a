use std::io::IsTerminal;

use anyhow::{Context, Result};
use equicrypt_gateway::{ApiKey, Host, Message, Options, Owner, Sampling, Session, terminal_safe};

use crate::args::Ask;
use crate::commands::sealing::seal;
use crate::commands::tokens::read_manifest;
use crate::key;
use crate::terminal::Terminal;

pub(super) fn run(args: &Ask) -> Result<()> {
    runtime()?.block_on(ask(args))
}

/// A runtime for one conversation.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the network thread")
}

/// A conversation of one question.
pub(super) fn conversation(system: Option<&str>, question: &str) -> Vec<Message> {
    let message = |role: &str, content: &str| Message {
        role: role.into(),
        content: content.into(),
    };
    let system = system.map(|text| message("system", text));
    system
        .into_iter()
        .chain([message("user", question)])
        .collect()
}

async fn ask(args: &Ask) -> Result<()> {
    let owner = Owner::open(&args.model)?;
    let key = key::open(&args.key)?;
    let api_key = args
        .api_key_file
        .as_deref()
        .map(key::first_line)
        .transpose()?;
    let api_key = api_key.map(ApiKey::new).transpose()?;
    let host = Host::new(&args.host, api_key.as_ref())?.sealing(seal(&args.sealing)?);
    let manifest = match &args.manifest {
        Some(path) => read_manifest(path)?,
        None => host.manifest().await?,
    };
    let prompt = owner.prompt(&conversation(args.system.as_deref(), &args.question))?;
    let session = Session::open(owner, &key, &manifest)?;
    let room = session.owner().max_positions() - prompt.len();
    let sampling = Sampling {
        temperature: args.temperature,
        top_p: args.top_p,
        seed: args.seed,
        ..Sampling::greedy()
    };
    let sampling = session.sampling(&[], sampling)?;
    let options = Options {
        vocab_size: session.vocab_size(),
        stop_ids: session.stop_ids(),
        tells_stops: true,
        max_tokens: room.min(args.max_tokens as usize),
        sampling: &sampling,
    };
    let mut answer = (host.contacted().await?)
        .generate(&session.encrypt_prompt(&prompt)?, &options)
        .await?;
    let mut text = session.owner().text().stream();
    let mut terminal = Terminal::new();
    // A model may say anything, a terminal's control sequences too.
    let tame = std::io::stdout().is_terminal();
    let mut show = |piece: Option<String>| match piece {
        Some(piece) if tame => terminal.text(&terminal_safe(&piece)),
        Some(piece) => terminal.text(&piece),
        None => Ok(()),
    };
    while let Some(step) = answer.next().await {
        for id in session.decrypt(&step?.ids)? {
            if !session.owner().stop_ids().contains(&id) {
                show(text.push(id)?)?;
            }
        }
    }
    show(text.finish()?)?;
    show(Some("\n".into()))
}
