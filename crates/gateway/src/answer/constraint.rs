use super::{Form, Token};
use crate::{Error, Grammar, TextModel};

/// Keeps an answer within a grammar: an id that it forbids is replaced by the likeliest one that it
/// allows. The host sees that a request ended and that another one goes on with other ids; it never
/// sees the grammar.
pub(super) struct Constraint(Grammar);

impl Constraint {
    pub(super) fn new(model: &TextModel, form: &Form) -> Result<Self, Error> {
        let vocabulary = model.grammar_vocabulary()?;
        Ok(Self(match form {
            Form::JsonObject => Grammar::json_object(vocabulary)?,
            Form::JsonSchema(schema) | Form::Call(schema) => {
                Grammar::json_schema(vocabulary, schema)?
            }
        }))
    }

    /// Goes on behind this id, or behind the one that must come in its place, which is returned. A
    /// host's candidates are tried in their order; if none is allowed, an id is taken that brings the
    /// answer towards its end.
    pub(super) fn correct(&mut self, token: &Token) -> Result<Option<Token>, Error> {
        if self.0.allows(token.id)? {
            self.0.take(token.id)?;
            return Ok(None);
        }
        let mut better = None;
        for (id, logprob) in &token.top {
            if self.0.allows(*id)? {
                better = Some((*id, Some(*logprob)));
                break;
            }
        }
        let (id, logprob) = match better {
            Some(better) => better,
            None => {
                let end = self.0.fallback()?;
                let problem = "leads nowhere";
                (end.ok_or(Error::Grammar { problem })?, None)
            }
        };
        self.0.take(id)?;
        Ok(Some(Token {
            id,
            logprob: logprob.or(token.logprob),
            top: token.top.clone(),
        }))
    }

    /// Ids that alone can come next: they need not be asked for.
    pub(super) fn forced(&mut self) -> Result<Vec<u32>, Error> {
        let ids = self.0.forced();
        for id in &ids {
            self.0.take(*id)?;
        }
        Ok(ids)
    }

    /// Whether nothing may follow.
    pub(super) fn is_over(&mut self) -> bool {
        self.0.must_end()
    }
}

/// As many as stock vLLM gives.
pub(super) const CANDIDATES: usize = 20;
