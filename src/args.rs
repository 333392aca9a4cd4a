//! The command line, and nothing done about it yet.

mod audit;
mod bench;
mod encoder;
mod gateway;
mod rekey;
mod sealing;
mod shares;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::PossibleValue;
use clap::{Parser, Subcommand, ValueEnum};

pub(crate) use audit::Audit;
pub(crate) use bench::{Bench, BenchEncrypt, BenchEngine, BenchShares, Way};
pub(crate) use encoder::{Classify, Embed, EncoderArgs, FillMask, Rerank};
pub(crate) use gateway::{EngineName, Gateway};
pub(crate) use rekey::Rekey;
pub(crate) use sealing::SealArgs;
pub(crate) use shares::{HeadPlaceName, Shares, SharesPrepare, SharesServe};

use crate::models::{MODELS, Model};

/// Equivariant Encryption: rewrites a language model under a key, so that a host runs it on encrypted token ids and the
/// owner decrypts the answers. This is obfuscation with measured leakage, not semantic security: it hides text from whoever
/// sees only token ids until they have seen enough of them, and it does not protect against a host that has the original
/// weights (docs/threat-model.md).
#[derive(Parser)]
#[command(name = "equicrypt", version, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show the whole thing on a real model: fetch, encrypt, serve, ask, compare
    Demo(Demo),
    /// Download an open-weight model, as a Hugging Face folder
    Fetch(Fetch),
    /// Turn a GGUF file into a Hugging Face folder
    Import(Import),
    /// Turn a Hugging Face folder, encrypted or not, into a GGUF file whose vocabulary says nothing
    Export(Export),
    /// Make a key
    Keygen(Keygen),
    /// Encrypt a Hugging Face folder under a key
    Encrypt(Encrypt),
    /// Give an encrypted folder a new vocabulary: a new epoch under the same key, from the folder alone
    ///
    /// Embedding and head are rewritten, every other secret stays; files of the weights without either become hard links. Whoever
    /// has seen token ids only starts counting from nothing. A host that has both folders does not: it finds every row of the one
    /// in the other. Adapters, embeddings and vectors stay valid; an adapter of the head (lm_head) must be encrypted again.
    Rekey(Rekey),
    /// Print what anyone may know of an encrypted folder
    Inspect(Inspect),
    /// Encrypt or decrypt token ids: a JSON list on standard input, a JSON list on standard output
    Tokens(Tokens),
    /// Write a SECRET Hugging Face tokenizer of cipher ids, for the owner's own Python programs
    ///
    /// AutoTokenizer.from_pretrained(DIR) then turns text into cipher ids and cipher ids into text, for any engine that
    /// takes token ids. The folder IS the vocabulary secret: who has it reads every prompt and every answer, so keep it like
    /// the key, use it on the owner's machine only, and never upload it or give it to the host.
    Tokenizer(Tokenizer),
    /// Serve a folder to owners: token ids in, token ids out; needs no key and cannot use one
    Serve(Serve),
    /// Ask an encrypted model one question and stream the decrypted answer
    Ask(Ask),
    /// Serve OpenAI's API on this machine, for any client, with an encrypted model on any host behind it
    Gateway(Gateway),
    /// Embed texts with an encrypted encoder: one JSON object a line
    Embed(Embed),
    /// Label texts, or their tokens, with an encrypted classifier: one JSON object a line
    Classify(Classify),
    /// Sort documents by how well they answer a query, with an encrypted reranker: the best first
    Rerank(Rerank),
    /// Find the words that a mask hides, with an encrypted masked-language model
    FillMask(FillMask),
    /// Compare an encrypted folder with its original: logits and greedy answers, or embeddings and labels
    Verify(Verify),
    /// Run published attacks against an encrypted folder, and say what they recover
    ///
    /// The adversaries hold what the attack says (the original, the encrypted folder, some known plaintext, a cache); the key is
    /// used to mark their guesses only. Every attack is also run on a copy in which nothing is encrypted but the ids: a control
    /// below 95 % means that the attack itself does not work on this model. Whatever is recovered, the exit status is 0 unless
    /// --fail-above is given.
    Audit(Audit),
    /// Keep text from hosts that own the public weights: two of them that do not collude compute on masked numbers
    #[command(subcommand)]
    Shares(Shares),
    /// Measure on this machine what encryption costs
    #[command(subcommand)]
    Bench(Bench),
}

#[derive(clap::Args)]
pub(crate) struct Demo {
    /// The question
    #[arg(default_value = "Explain in three sentences why the sky is blue.")]
    pub(crate) prompt: String,
    /// A Hugging Face folder to use in place of SmolLM2-135M-Instruct
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
    /// New tokens of each answer, at most
    #[arg(long, value_name = "N", default_value_t = 96, value_parser = clap::value_parser!(u32).range(2..))]
    pub(crate) max_tokens: u32,
    /// Show the mode for hosts that own the public weights: two hosts that must not collude, and nothing encrypted
    #[arg(long)]
    pub(crate) shares: bool,
    /// Print one JSON object in place of the show
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
pub(crate) struct Fetch {
    /// Which model
    #[arg(value_enum)]
    pub(crate) name: &'static Model,
    /// The folder to make
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
}

impl ValueEnum for &'static Model {
    fn value_variants<'a>() -> &'a [Self] {
        &MODELS
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name).help(self.about))
    }
}

#[derive(clap::Args)]
pub(crate) struct Import {
    /// The GGUF file
    pub(crate) file: PathBuf,
    /// The folder to make
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
}

#[derive(clap::Args)]
pub(crate) struct Export {
    /// The Hugging Face folder
    pub(crate) model: PathBuf,
    /// The GGUF file to make
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// How the weights are stored
    #[arg(long, value_enum, default_value_t = QuantizeName::Bf16)]
    pub(crate) quantize: QuantizeName,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum QuantizeName {
    F32,
    F16,
    Bf16,
    #[value(name = "q8_0")]
    Q8_0,
    #[value(name = "q4_k")]
    Q4K,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormatName {
    /// A Hugging Face folder, for vLLM, SGLang, transformers and `equicrypt serve`
    Safetensors,
    /// A folder with model.gguf, for llama.cpp
    Gguf,
}

#[derive(clap::Args)]
pub(crate) struct Keygen {
    /// The key file to make
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Protect the file with a passphrase, asked for on the terminal
    #[arg(long)]
    pub(crate) passphrase: bool,
    /// Protect the file with the passphrase in the first line of this file
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

/// Where the key is.
#[derive(clap::Args)]
pub(crate) struct KeyArgs {
    /// The owner's key file
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// Read the key file's passphrase from the first line of this file, not from the terminal
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

#[derive(clap::Args)]
pub(crate) struct Encrypt {
    /// The original: a Hugging Face folder
    pub(crate) model: PathBuf,
    /// The encrypted folder to make
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) key: KeyArgs,
    /// Which secrets to use
    #[arg(long, value_enum, default_value_t = ProfileName::Permute)]
    pub(crate) profile: ProfileName,
    /// The dtype to store; the original's if not given
    #[arg(long, value_enum)]
    pub(crate) dtype: Option<DtypeName>,
    /// What to write
    #[arg(long, value_enum, default_value_t = FormatName::Safetensors)]
    pub(crate) format: FormatName,
    /// How a GGUF file's weights are stored; bf16 if not given
    #[arg(long, value_enum, conflicts_with = "dtype")]
    pub(crate) quantize: Option<QuantizeName>,
    /// Encrypt this PEFT LoRA folder instead, made for the model, for an encrypted base
    #[arg(
        long,
        value_name = "PEFT_DIR",
        requires = "base",
        conflicts_with_all = ["profile", "dtype", "expand", "rotate_output", "noise", "homophones", "epoch", "format", "quantize"]
    )]
    pub(crate) adapter: Option<PathBuf>,
    /// The encrypted folder that the adapter is for, made from the model with the same key
    #[arg(long, value_name = "DIR", requires = "adapter")]
    pub(crate) base: Option<PathBuf>,
    /// Hidden coordinates to add (rotate only): the residual stream becomes wider and the same function is computed
    #[arg(long, value_name = "H", default_value_t = 0)]
    pub(crate) expand: usize,
    /// Add Gaussian noise to embedding and head, A times the standard deviation of each: the model answers worse, and
    /// `equicrypt audit` says what that buys
    #[arg(long, value_name = "A", default_value_t = 0.0)]
    pub(crate) noise: f64,
    /// Add N rows to embedding and head, so that frequent ids have several cipher ids: token counts tell less. Drawing (not
    /// greedy answers) then needs a logit_bias of N ids and more; vLLM takes 1,024
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1 << 20))]
    pub(crate) homophones: u32,
    /// How rows are given to ids, by their frequency
    #[arg(long, value_enum, default_value_t = AllocationName::Proportional, requires = "homophones")]
    pub(crate) allocation: AllocationName,
    /// Count frequencies in this text, which should be like what will be sent; in a built-in English sample if not given
    #[arg(long, value_name = "FILE", requires = "homophones")]
    pub(crate) homophones_text: Option<PathBuf>,
    /// Give sentence embeddings a secret rotation of their own, in a linear layer behind the pooling
    #[arg(long)]
    pub(crate) rotate_output: bool,
    /// The counter in the key schedule: another epoch is another vocabulary under the same key
    #[arg(long, default_value_t = 0)]
    pub(crate) epoch: u32,
    /// Print the summary as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum ProfileName {
    /// Permutations, signs and powers of two: lossless, same shapes
    Permute,
    /// The whole legal groups, rotations included: also hides the values, rounds each weight once
    Rotate,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum AllocationName {
    /// By frequency: frequent ids become alike
    Proportional,
    /// By the square root of frequency: fewer rows for the most frequent ids, some for more of the others
    SquareRoot,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum DtypeName {
    Bf16,
    F16,
    F32,
}

#[derive(clap::Args)]
pub(crate) struct Inspect {
    /// The encrypted folder
    pub(crate) folder: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
pub(crate) struct Tokens {
    #[command(subcommand)]
    pub(crate) direction: Direction,
}

#[derive(Subcommand)]
pub(crate) enum Direction {
    /// Plain ids to cipher ids
    Encrypt(TokenArgs),
    /// Cipher ids to plain ids
    Decrypt(TokenArgs),
}

#[derive(clap::Args)]
pub(crate) struct TokenArgs {
    #[command(flatten)]
    pub(crate) key: KeyArgs,
    /// The encrypted folder's equicrypt.json
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: PathBuf,
}

#[derive(clap::Args)]
pub(crate) struct Tokenizer {
    /// The original: a Hugging Face folder
    pub(crate) model: PathBuf,
    #[command(flatten)]
    pub(crate) key: KeyArgs,
    /// The encrypted folder's equicrypt.json; without it epoch 0 is taken, and a wrong key is not noticed
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: Option<PathBuf>,
    /// The SECRET folder to make
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
}

#[derive(clap::Args)]
pub(crate) struct Serve {
    /// The folder to serve
    pub(crate) folder: PathBuf,
    /// The address to listen on; port 0 takes a free one
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "EQUICRYPT_LISTEN",
        default_value = "127.0.0.1:8700"
    )]
    pub(crate) listen: SocketAddr,
    /// How the weights of a decoder are kept; it computes in f32 with each. f32 keeps bf16 weights as they are, so that bf16 saves
    /// memory only where a model is stored in f32 or f16
    #[arg(long, value_enum, default_value_t = StorageName::F32)]
    pub(crate) dtype: StorageName,
    /// Requests decoded together, at most
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) max_batch: u16,
    /// Requests that may wait for a place, at most; more are answered with 429
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) max_queue: u16,
    /// Require the bearer token in the first line of this file
    #[arg(long, value_name = "FILE")]
    pub(crate) api_key_file: Option<PathBuf>,
    /// The file with the secret that opens sealed requests, made if it is missing; $XDG_STATE_HOME/equicrypt/transport.key or
    /// ~/.local/state/equicrypt/transport.key if not given
    #[arg(long, value_name = "FILE")]
    pub(crate) transport_key: Option<PathBuf>,
    /// Refuse requests with token ids that are not sealed
    #[arg(long)]
    pub(crate) sealed_only: bool,
    /// Say on standard error of each request its route, status, bytes and milliseconds; never what is in it
    #[arg(long)]
    pub(crate) log_requests: bool,
}

/// How a server keeps weights.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StorageName {
    /// As they are
    F32,
    /// Rounded to bfloat16
    Bf16,
    /// Eight bits each, and a scale for 32 of them
    #[value(name = "q8_0")]
    Q8_0,
}

#[derive(clap::Args)]
pub(crate) struct Ask {
    /// The question
    pub(crate) question: String,
    #[command(flatten)]
    pub(crate) key: KeyArgs,
    /// The original's folder: tokenizer, chat template and configuration are read from it
    #[arg(long, value_name = "DIR")]
    pub(crate) model: PathBuf,
    /// Where the encrypted model is served
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8700")]
    pub(crate) host: String,
    /// The encrypted folder's equicrypt.json, for hosts that do not publish it
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) sealing: SealArgs,
    /// A system message
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// New tokens, at most
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_tokens: u32,
    /// 0 is greedy
    #[arg(long, default_value_t = 0.0)]
    pub(crate) temperature: f64,
    /// Nucleus sampling
    #[arg(long, default_value_t = 1.0)]
    pub(crate) top_p: f64,
    /// Same seed, same answer
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Send the bearer token in the first line of this file
    #[arg(long, value_name = "FILE")]
    pub(crate) api_key_file: Option<PathBuf>,
}

#[derive(clap::Args)]
pub(crate) struct Verify {
    /// The original: a Hugging Face folder
    pub(crate) model: PathBuf,
    /// The encrypted folder
    pub(crate) encrypted: PathBuf,
    #[command(flatten)]
    pub(crate) key: KeyArgs,
    /// New tokens of each greedy answer
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub(crate) greedy_tokens: u16,
    /// Of encoders: compare on the lines of this file, in place of 200 built-in texts
    #[arg(long, value_name = "FILE")]
    pub(crate) texts: Option<PathBuf>,
    /// Fail above this mean KL, in nats; the profile's own limits if not given
    #[arg(long, value_name = "NATS")]
    pub(crate) max_kl: Option<f64>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Args::command().debug_assert();
    }
}
