use super::fields::Fields;
use super::rope::RopeFields;
use super::table::{ConfigTable, Positions};
use crate::Error;

/// Coordinates of a head's vectors.
pub(super) struct HeadSizes {
    pub(super) query_key: usize,
    pub(super) rotary: usize,
    pub(super) value: usize,
}

impl HeadSizes {
    pub(super) fn read(
        fields: &Fields<'_>,
        table: &ConfigTable,
        hidden_size: usize,
        heads: usize,
        max_positions: usize,
    ) -> Result<Self, Error> {
        if table.latent {
            let rotary = fields.size("qk_rope_head_dim")?;
            let sizes = Self {
                query_key: fields.size("qk_nope_head_dim")? + rotary,
                rotary,
                value: fields.size("v_head_dim")?,
            };
            return sizes.even("qk_rope_head_dim");
        }
        let names = &table.names;
        let named = match names.head_dim {
            Some(name) => fields.optional_size(name)?,
            None => None,
        };
        let size = match named {
            Some(size) => size,
            None if hidden_size.is_multiple_of(heads) => hidden_size / heads,
            None => {
                let expected =
                    format!("a divisor of {} = {hidden_size}, or head_dim", names.hidden);
                return Err(fields.wrong(names.heads, expected));
            }
        };
        let (rotary, field) = match table.positions {
            Positions::Learned | Positions::LearnedAfterPad(..) => (0, ""),
            Positions::Rotary {
                share: Some((field, default)),
                ..
            } => {
                let share = RopeFields::new(fields.0, max_positions)?.share(field, default)?;
                ((size as f64 * share) as usize, field)
            }
            Positions::Rotary { share: None, .. } => (size, "head_dim"),
        };
        let sizes = Self {
            query_key: size,
            rotary,
            value: size,
        };
        sizes.even(field)
    }

    fn even(self, field: &str) -> Result<Self, Error> {
        if self.rotary.is_multiple_of(2) {
            return Ok(self);
        }
        Err(Error::Config {
            field: field.to_owned(),
            expected: "an even number of coordinates to turn (RoPE turns pairs)".into(),
            found: self.rotary.to_string(),
        })
    }
}
