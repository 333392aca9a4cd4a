use std::sync::Arc;

use equicrypt_engine::{
    Error as EngineError, Linear, LinearId, Linears, Pending, Precision, Rows, Values,
};

use crate::model::OwnerLayer;
use crate::{Error, Remote};

/// The linear layers of a model as an engine takes them: computed by two hosts, but for those that the owner's folder has.
pub struct RemoteLinears {
    remote: Arc<Remote>,
    precision: Precision,
}

struct RemoteLinear {
    remote: Arc<Remote>,
    index: usize,
}

impl RemoteLinears {
    /// For an engine of this precision.
    #[must_use]
    pub fn new(remote: Arc<Remote>, precision: Precision) -> Self {
        Self { remote, precision }
    }
}

impl Linears for RemoteLinears {
    fn linear(&mut self, id: LinearId) -> Result<Box<dyn Linear>, EngineError> {
        let fail = |error: Error| failed(&id.to_string(), &error);
        let local = self.remote.model().local_layers().map_err(fail)?;
        if local.ids().contains(&id) {
            return local.here(id, self.precision);
        }
        let index = self.remote.model().index(id);
        let index = index.ok_or_else(|| EngineError::Linear {
            layer: id.to_string(),
            problem: "it was not prepared; prepare the owner's folder anew".to_owned(),
        })?;
        Ok(Box::new(RemoteLinear {
            remote: Arc::clone(&self.remote),
            index,
        }))
    }

    fn has(&self, id: LinearId) -> bool {
        self.remote.model().index(id).is_some()
    }
}

impl Linear for RemoteLinear {
    fn forward(&self, x: &Rows) -> Result<Rows, EngineError> {
        (self.ask(x)?)()
    }

    fn ask(&self, x: &Rows) -> Result<Pending<'_>, EngineError> {
        let layer = self.layer();
        let fail = |error: Error| failed(&layer.name, &error);
        let is_single = matches!(x.values, Values::F32(_));
        let (length, double) = match &x.values {
            Values::F32(values) => (values.len(), values.iter().map(|x| f64::from(*x)).collect()),
            Values::F64(values) => (values.len(), values.clone()),
        };
        if x.width != layer.inputs || !length.is_multiple_of(layer.inputs) {
            return Err(fail(Error::Width {
                layer: layer.name.clone(),
                expected: layer.inputs,
                found: x.width,
            }));
        }
        let asked = self.remote.ask(self.index, &double).map_err(fail)?;
        Ok(Box::new(move || {
            let y = self.remote.wait(asked).map_err(fail)?;
            Ok(Rows {
                width: layer.outputs,
                values: match is_single {
                    true => Values::F32(y.into_iter().map(|y| y as f32).collect()),
                    false => Values::F64(y),
                },
            })
        }))
    }
}

impl RemoteLinear {
    fn layer(&self) -> &OwnerLayer {
        &self.remote.model().layers()[self.index]
    }
}

fn failed(layer: &str, error: &Error) -> EngineError {
    EngineError::Linear {
        layer: layer.to_owned(),
        problem: error.to_string(),
    }
}
