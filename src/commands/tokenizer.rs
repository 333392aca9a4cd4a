use anyhow::Result;
use equicrypt_gateway::CipherTokenizer;

use crate::args::Tokenizer;
use crate::commands::tokens::read_manifest;
use crate::key;
use crate::terminal::Terminal;

pub(super) fn run(args: &Tokenizer) -> Result<()> {
    let manifest = args.manifest.as_deref().map(read_manifest).transpose()?;
    let key = key::open(&args.key)?;
    let tokenizer = CipherTokenizer::open(&args.model, &key, manifest.as_ref())?;
    tokenizer.write(&args.output)?;
    let output = args.output.display();
    if manifest.is_none() {
        eprintln!(
            "equicrypt: no --manifest: epoch 0 is taken, and whether key {} encrypted this model was not checked",
            key.id()
        );
    }
    eprintln!(
        "equicrypt: SECRET: {output} is the secret vocabulary: keep it like the key, never upload it, never give it to the host"
    );
    Terminal::new().line(&format!(
        "wrote {output}: {} tokens with cipher ids (folder mode 0700, files 0600)",
        tokenizer.tokens()
    ))
}
