use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use equicrypt_checkpoint::gguf::GgufFile;
use equicrypt_checkpoint::{Checkpoint, Dtype, GgufWeights, StagedDir};
use equicrypt_cipher::{
    Allocation, Homophones, MasterKey, Options, Plan, Summary, encrypt_with_homophones,
};
use equicrypt_spec::{MANIFEST_FILE, Profile};
use serde_json::json;

use super::export::{GGUF_FILE, export, manifest_for, weights};
use super::frequencies::frequencies;
use super::tokens::read_manifest;
use crate::args::{AllocationName, DtypeName, Encrypt, FormatName, ProfileName};
use crate::terminal::Terminal;
use crate::{key, progress};

pub(super) fn run(args: &Encrypt) -> Result<()> {
    let key = key::open(&args.key)?;
    let options = Options {
        profile: match args.profile {
            ProfileName::Permute => Profile::Permute,
            ProfileName::Rotate => Profile::Rotate,
        },
        dtype: args.dtype.map(|dtype| match dtype {
            DtypeName::Bf16 => Dtype::Bf16,
            DtypeName::F16 => Dtype::F16,
            DtypeName::F32 => Dtype::F32,
        }),
        epoch: args.epoch,
        expand: args.expand,
        scales: true,
        rotate_output: args.rotate_output,
        noise: args.noise,
    };
    let homophones = homophones(args)?;
    let start = Instant::now();
    let summary = match (&args.adapter, &args.base) {
        (Some(adapter), Some(base)) => encrypt_adapter(args, adapter, base, &key)?,
        _ if args.format == FormatName::Gguf => encrypt_to_gguf(args, &key, &options, &homophones)?,
        _ if args.quantize.is_some() => {
            bail!("--quantize is for GGUF files: add --format gguf, or give --dtype instead")
        }
        _ => encrypt_with(&args.model, &args.output, &key, &options, &homophones)?,
    };
    let seconds = start.elapsed().as_secs_f64();
    let memory = peak_memory();

    let mut terminal = Terminal::new();
    if args.json {
        return terminal.json(&json!({
            "output": args.output,
            "manifest": summary.manifest,
            "tensors": summary.tensors,
            "bytes": summary.bytes,
            "homophones": homophones.extra(),
            "biased_ids": homophones.biased(),
            "seconds": seconds,
            "flush_seconds": summary.flushing.as_secs_f64(),
            "peak_memory_bytes": memory,
        }));
    }
    let manifest = &summary.manifest;
    terminal.line(&format!(
        "encrypted {} tensors, {} MB, as {} in {} under key {}",
        summary.tensors,
        summary.bytes / 1_000_000,
        manifest.profile.name(),
        args.output.display(),
        manifest.key_id,
    ))?;
    if homophones.extra() > 0 {
        terminal.line(&format!(
            "{} homophones; drawing needs a logit_bias of {} ids at most",
            homophones.extra(),
            homophones.biased(),
        ))?;
    }
    let memory = memory.map_or("unknown".to_owned(), |bytes| {
        format!("{} MB", bytes / 1_000_000)
    });
    terminal.line(&format!("{seconds:.2} s, peak memory {memory}"))
}

/// Encrypts a folder into one with a GGUF file and the manifest. The encrypted weights stand on the disk as safetensors
/// meanwhile, in a precision from which the GGUF file's is rounded once.
fn encrypt_to_gguf(
    args: &Encrypt,
    key: &MasterKey,
    options: &Options,
    homophones: &Homophones,
) -> Result<Summary> {
    let weights = match (args.quantize, args.dtype) {
        (Some(name), _) => weights(name),
        (None, None | Some(DtypeName::Bf16)) => GgufWeights::Bf16,
        (None, Some(DtypeName::F16)) => GgufWeights::F16,
        (None, Some(DtypeName::F32)) => GgufWeights::F32,
    };
    let options = Options {
        dtype: match weights {
            GgufWeights::Bf16 => Some(Dtype::Bf16),
            GgufWeights::F16 => Some(Dtype::F16),
            _ => Some(Dtype::F32),
        },
        // A block of quantised weights shares one scale, and a neuron four times its neighbour takes it all.
        scales: !matches!(weights, GgufWeights::Q8_0 | GgufWeights::Q4K),
        ..*options
    };
    let staged = StagedDir::new(&args.output)?;
    let folder = staged.path().join("weights");
    let summary = encrypt_with(&args.model, &folder, key, &options, homophones)?;
    let manifest = manifest_for(&summary.manifest, weights);
    let file = staged.path().join(GGUF_FILE);
    export(&folder, &file, weights, Some(&manifest))?;
    std::fs::remove_dir_all(&folder)
        .with_context(|| format!("cannot delete {}", folder.display()))?;
    let path = staged.path().join(MANIFEST_FILE);
    std::fs::write(&path, manifest.to_text())
        .with_context(|| format!("cannot write {}", path.display()))?;
    let gguf = GgufFile::open(&file)?;
    let tensors = &gguf.header().tensors;
    let (tensors, bytes) = (
        tensors.len(),
        tensors.iter().map(|tensor| tensor.byte_len).sum(),
    );
    let start = Instant::now();
    staged.commit()?;
    Ok(Summary {
        manifest,
        tensors,
        bytes,
        flushing: start.elapsed(),
    })
}

/// Rewrites an adapter for an encrypted base.
fn encrypt_adapter(
    args: &Encrypt,
    adapter: &Path,
    base: &Path,
    key: &MasterKey,
) -> Result<Summary> {
    let source = Checkpoint::open(&args.model)?;
    let config = Checkpoint::open(base)?.model_config()?;
    let manifest = read_manifest(&base.join(MANIFEST_FILE))?;
    let base = (&config, &manifest);
    let out = &args.output;
    Ok(equicrypt_cipher::encrypt_adapter(
        &source, base, adapter, out, key,
    )?)
}

/// Encrypts a folder, with a progress bar.
pub(super) fn encrypt(
    model: &Path,
    output: &Path,
    key: &MasterKey,
    options: &Options,
) -> Result<Summary> {
    let none = Homophones::none(Checkpoint::open(model)?.model_config()?.vocab_size);
    encrypt_with(model, output, key, options, &none)
}

fn encrypt_with(
    model: &Path,
    output: &Path,
    key: &MasterKey,
    options: &Options,
    homophones: &Homophones,
) -> Result<Summary> {
    let source = Checkpoint::open(model)?;
    let plan = Plan::with_homophones(&source, options, homophones, key.id())?;
    let bar = progress::bytes("encrypting", plan.bytes());
    let progress = |bytes| bar.inc(bytes);
    let summary = encrypt_with_homophones(&source, output, key, options, homophones, &progress);
    bar.finish_and_clear();
    Ok(summary?)
}

/// Who gets homophones; nobody if none are asked for.
fn homophones(args: &Encrypt) -> Result<Homophones> {
    let config = Checkpoint::open(&args.model)?.model_config()?;
    let extra = args.homophones as usize;
    if extra == 0 {
        return Ok(Homophones::none(config.vocab_size));
    }
    let allocation = match args.allocation {
        AllocationName::Proportional => Allocation::Proportional,
        AllocationName::SquareRoot => Allocation::SquareRoot,
    };
    let text = args.homophones_text.as_deref();
    let weights = frequencies(&args.model, config.vocab_size, text)?;
    let kept = config.uncounted_id();
    let homophones = Homophones::allocate(&weights, kept, extra, allocation)?;
    if homophones.biased() > VLLM_BIASED && !config.task.is_of_encoder() {
        eprintln!(
            "equicrypt: drawing from this model needs a logit_bias of {} ids, and stock vLLM takes {VLLM_BIASED}: there it can answer \
             greedily only, or with fewer --homophones",
            homophones.biased()
        );
    }
    Ok(homophones)
}

/// `MAX_NUM_LOGIT_BIAS_TOKENS` of vLLM's model runner.
const VLLM_BIASED: usize = 1024;

/// The most memory this process has held, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kilobytes * 1024)
}
