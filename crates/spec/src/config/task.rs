use super::fields::Fields;
use super::table::{ConfigTable, HeadActivation};
use crate::{Activation, Architecture, Error, Task};

/// What the file says of a model's answer.
pub(super) struct Answer {
    pub(super) task: Task,
    pub(super) token_types: usize,
    pub(super) distance_classes: usize,
    pub(super) labels: usize,
    pub(super) labels_from_mean: bool,
}

impl Answer {
    pub(super) fn read(fields: &Fields<'_>, arch: &'static Architecture) -> Result<Self, Error> {
        let Some(encoder) = &arch.config.encoder else {
            return Ok(Self {
                task: Task::NextToken,
                token_types: 0,
                distance_classes: 0,
                labels: 0,
                labels_from_mean: false,
            });
        };
        let task = task(fields, arch)?;
        let labels = match (task.has_labels(), fields.object("id2label")?) {
            (false, _) => 0,
            (true, Some(names)) if !names.is_empty() => names.len(),
            (true, _) => fields.optional_size("num_labels")?.unwrap_or(2),
        };
        Ok(Self {
            task,
            token_types: match encoder.token_types {
                Some(name) => fields.optional_size(name)?.unwrap_or(2),
                None => 0,
            },
            distance_classes: match encoder.distance_classes {
                Some((name, default)) => fields.optional_size(name)?.unwrap_or(default),
                None => 0,
            },
            labels,
            labels_from_mean: match encoder.pooling {
                Some(name) => match fields.text(name)? {
                    None | Some("cls") => false,
                    Some("mean") => true,
                    Some(_) => return Err(fields.wrong(name, "\"cls\" or \"mean\"".into())),
                },
                None => false,
            },
        })
    }

    /// What follows the first linear layer of the head.
    pub(super) fn head_activation(
        &self,
        fields: &Fields<'_>,
        table: &ConfigTable,
        model: Activation,
    ) -> Result<Activation, Error> {
        let source = match (&table.encoder, self.task) {
            (Some(encoder), Task::Features | Task::SequenceLabels) => &encoder.pooler,
            (Some(encoder), _) => &encoder.token_head,
            (None, _) => &HeadActivation::Model,
        };
        match *source {
            HeadActivation::Is(activation) => Ok(activation),
            HeadActivation::Model => Ok(model),
            HeadActivation::Field(name, default) => match fields.text(name)? {
                None => Ok(default),
                Some(text) => Activation::named(text)
                    .ok_or_else(|| fields.wrong(name, "an activation such as \"gelu\"".into())),
            },
        }
    }
}

fn task(fields: &Fields<'_>, arch: &'static Architecture) -> Result<Task, Error> {
    let classes = fields.words("architectures")?.unwrap_or_default();
    let Some(class) = classes.first() else {
        return Ok(Task::Features);
    };
    let stem = arch.class;
    if class.strip_prefix(stem) == Some("ForPreTraining") {
        return Ok(Task::MaskedToken);
    }
    let known = |(_, suffix): &&(Task, &str)| class.strip_prefix(stem) == Some(suffix);
    match Task::OF_ENCODERS.iter().find(known) {
        Some((task, _)) => Ok(*task),
        None => {
            let known = Task::OF_ENCODERS.map(|(_, suffix)| format!("{stem}{suffix}"));
            Err(fields.wrong("architectures", known.join(", ")))
        }
    }
}
