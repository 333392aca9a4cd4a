use anyhow::Result;
use equicrypt_cipher::{MasterKey, write_key_file};

use crate::args::Keygen;
use crate::key::new_passphrase;
use crate::terminal::Terminal;

pub(super) fn run(args: &Keygen) -> Result<()> {
    let passphrase = new_passphrase(args)?;
    let key = MasterKey::generate()?;
    write_key_file(&args.output, &key, passphrase.as_ref())?;
    let mut terminal = Terminal::new();
    terminal.line(&format!("key id {}", key.id()))?;
    terminal.line(&format!(
        "wrote {} (mode 0600); keep a copy: without it nothing that was encrypted can be read",
        args.output.display()
    ))
}
