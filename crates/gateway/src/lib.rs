//! OWNER room: the owner's tokenizer and chat template in front, cipher ids behind.
//!
//! The order of reading: [`Text`] (tokenizer), [`ChatTemplate`] (messages to text), [`Owner`] (what
//! the original model's folder says), [`Session`] (plain ids to cipher ids and back, after every
//! check), [`Host`] (cipher ids over HTTP), the [`EventParser`] that reads its stream; for encoders
//! [`EncoderOwner`] and [`EncoderSession`]; for answers in JSON a [`Grammar`]. A [`Host`] takes [`equicrypt_cipher::CipherIds`] only,
//! so plain ids cannot be sent.

mod answer;
mod api;
mod belongs;
mod chat;
mod cipher_tokenizer;
mod clock;
mod encoder;
mod epochs;
mod error;
mod grammar;
mod history;
mod homophones;
mod host;
mod json;
mod ledger;
mod model;
mod owner;
mod parse;
mod pool;
mod session;
mod settings;
mod sse;
mod stream;
mod terminal;
mod text;
mod text_stream;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod scripted_host;

pub use api::{GatewayOptions, Model, serve_gateway};
pub use chat::{ChatTemplate, Conversation, Message};
pub use cipher_tokenizer::CipherTokenizer;
pub use clock::strftime;
pub use encoder::{
    Candidate, CipherText, EncoderOwner, EncoderSession, LabelledToken, Long, Prepared,
};
pub use epochs::{Epochs, OfOneEpoch};
pub use error::Error;
pub use grammar::{Grammar, GrammarVocabulary};
pub use host::{
    ApiKey, Bias, DIALECTS, Dialect, Expected, Host, HostKeys, Options, Pin, Sampling, Seal, Tap,
    TokenTask, Traffic,
};
pub use ledger::{BUDGETS, EpochCount, Ledger, default_budget};
pub use model::TextModel;
pub use owner::Owner;
pub use parse::{AnswerParser, Part, REASONING_FORMATS, ReasoningFormat, TOOL_FORMATS, ToolFormat};
pub use pool::{HostState, Pool, Upstream};
pub use session::Session;
pub use sse::EventParser;
pub use stream::{Step, Stream};
pub use terminal::terminal_safe;
pub use text::Text;
pub use text_stream::TextStream;
