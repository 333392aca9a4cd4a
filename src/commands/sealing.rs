//! Where transport keys are kept, on both sides.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use equicrypt_gateway::{HostKeys, Pin, Seal};
use equicrypt_sealed::TransportSecret;
use equicrypt_server::{Log, RequestLine};

use crate::args::{SealArgs, Serve};

/// How requests are sealed to each of so many hosts.
pub(super) fn seals(args: &SealArgs, hosts: usize) -> Result<Vec<Seal>> {
    let one = match args.seal_to.as_slice() {
        _ if args.unsealed => Seal::Off,
        [] => Seal::FirstContact(HostKeys::new(host_keys(args)?)),
        [pin] => Seal::To(pin.clone()),
        pins if pins.len() == hosts => {
            let seal = |pin: &Pin| Seal::To(pin.clone());
            return Ok(pins.iter().map(seal).collect());
        }
        pins => bail!(
            "--seal-to: expected one for all hosts, or one for each of the {hosts}, found {}",
            pins.len()
        ),
    };
    Ok(vec![one; hosts])
}

/// The same for one host.
pub(super) fn seal(args: &SealArgs) -> Result<Seal> {
    let seals = seals(args, 1)?;
    seals.into_iter().next().context("no host is given")
}

/// The secret that opens what is sealed to this host, and where it is kept, or why it is not.
pub(super) fn transport_secret(given: Option<&PathBuf>) -> Result<(TransportSecret, String)> {
    let kept = |path: &PathBuf| format!("kept in {}", path.display());
    if let Some(path) = given {
        return Ok((TransportSecret::load_or_create(path)?, kept(path)));
    }
    let path = state_folder().map(|folder| folder.join("transport.key"));
    let problem = match path {
        Err(error) => error,
        Ok(path) => match TransportSecret::load_or_create(&path) {
            Ok(secret) => return Ok((secret, kept(&path))),
            // A secret that is there, and cannot be used, is not passed over.
            Err(error) if path.exists() => return Err(error.into()),
            Err(error) => error.into(),
        },
    };
    let why = format!("new with every start, so give --transport-key FILE ({problem})");
    Ok((TransportSecret::generate()?, why))
}

/// What is said of each request, if anything.
pub(super) fn request_log(args: &Serve) -> Option<Log> {
    args.log_requests
        .then(|| Arc::new(|line: &RequestLine| eprintln!("{line}")) as Log)
}

/// Where programs keep what should outlive them: the XDG Base Directory Specification, which ignores relative paths.
pub(super) fn state_folder() -> Result<PathBuf> {
    let absolute = |name: &str| {
        let path = PathBuf::from(std::env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    let folder =
        absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
    let folder = folder.context("neither XDG_STATE_HOME nor HOME says where to keep it")?;
    Ok(folder.join("equicrypt"))
}

fn host_keys(args: &SealArgs) -> Result<PathBuf> {
    if let Some(path) = &args.host_keys {
        return Ok(path.clone());
    }
    let folder = state_folder()
        .context("the hosts' keys need a file; give --host-keys FILE, or --seal-to")?;
    Ok(folder.join("hosts.json"))
}
