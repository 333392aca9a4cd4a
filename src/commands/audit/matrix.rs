//! Every way to encrypt a model, and a published scheme beside them.

use std::path::Path;

use anyhow::{Context, Result};
use equicrypt_audit::{
    AloePri, Attack, Audit, Audited, EncryptedCopy, MeasuredFidelity, Studied, Truth,
};
use equicrypt_checkpoint::{Checkpoint, Dtype};
use equicrypt_cipher::{MasterKey, Options, encrypt};
use equicrypt_spec::{ModelConfig, Profile};

use super::copies::{self, scheme};
use super::fidelity::Original;
use super::{attacks, name};
use crate::{args, progress};

/// Audits all schemes, one after another; at any time the copies of one are on the disk.
pub(super) fn run(args: &args::Audit, audit: &Audit) -> Result<Vec<Audited>> {
    let source = Checkpoint::open(&args.model)?;
    let original = match args.no_fidelity {
        true => None,
        false => Some(Original::load(&source, audit.texts())?),
    };
    let mut studied = Vec::new();
    for attack in attacks(args) {
        let busy = progress::spinner(format!("studying for {}", attack.name));
        studied.extend(audit.study(attack)?.map(|ready| (attack, ready)));
        busy.finish_and_clear();
    }
    let mut audited = Vec::new();
    for scheme in schemes(&source, audit.public().config()) {
        let one = scheme.audit(args, audit, &source, original.as_ref(), &studied)?;
        audited.push(one);
    }
    Ok(audited)
}

/// A way to encrypt.
enum Scheme {
    Ours(Options),
    AloePri(AloePri, Dtype),
}

/// The noises that each profile is tried with.
const NOISES: [f64; 5] = [0.0, 0.1, 0.25, 0.5, 1.0];

/// AloePri's alpha_e and alpha_h: without noise, half of the noise that the paper recommends on the embedding, what it
/// recommends, and twice.
const ALOEPRI_NOISES: [(f64, f64); 4] = [(0.0, 0.0), (0.5, 0.2), (1.0, 0.2), (2.0, 0.2)];

fn schemes(source: &Checkpoint, config: &ModelConfig) -> Vec<Scheme> {
    let plain = |profile| Options {
        profile,
        dtype: None,
        noise: 0.0,
        epoch: 0,
        expand: 0,
        scales: true,
        rotate_output: false,
    };
    let mut schemes = Vec::new();
    for profile in [Profile::Permute, Profile::Rotate] {
        schemes.extend(NOISES.map(|noise| {
            Scheme::Ours(Options {
                noise,
                ..plain(profile)
            })
        }));
    }
    let stored = source
        .tensors()
        .next()
        .map_or(Dtype::F32, |tensor| tensor.dtype);
    if stored != Dtype::F32 {
        schemes.push(Scheme::Ours(Options {
            dtype: Some(Dtype::F32),
            ..plain(Profile::Rotate)
        }));
    }
    if config.sentence.is_some() {
        schemes.push(Scheme::Ours(Options {
            rotate_output: true,
            ..plain(Profile::Rotate)
        }));
    }
    if AloePri::takes(config) {
        schemes.extend(ALOEPRI_NOISES.map(|(alpha_e, alpha_h)| {
            let parameters = AloePri {
                alpha_e,
                alpha_h,
                // A Gaussian matrix can cost the model its function when it is stored in 16 bits: the scheme at its best.
                orthogonal_values: true,
                ..AloePri::default()
            };
            Scheme::AloePri(parameters, stored)
        }));
    }
    schemes
}

/// A copy on the disk, and how near it is to the original.
struct Made {
    copy: EncryptedCopy,
    fidelity: Option<MeasuredFidelity>,
    dtype: String,
}

impl Scheme {
    fn name(&self) -> String {
        match self {
            Self::Ours(options) => match options.dtype {
                Some(dtype) => format!("{}, {}", scheme(options), dtype.name()),
                None => scheme(options),
            },
            Self::AloePri(parameters, _) => format!(
                "AloePri, alpha_e {}, alpha_h {}, lambda {}, h {}",
                parameters.alpha_e, parameters.alpha_h, parameters.lambda, parameters.h
            ),
        }
    }

    fn audit(
        &self,
        args: &args::Audit,
        audit: &Audit,
        source: &Checkpoint,
        original: Option<&Original>,
        studied: &[(&'static Attack, Studied<'_>)],
    ) -> Result<Audited> {
        let name_of = self.name();
        let busy = progress::spinner(format!("{name_of}: encrypting"));
        let place = tempfile::tempdir().context("cannot make a folder for encrypted copies")?;
        let mut made = Vec::new();
        for number in 0..args.keys {
            let folder = place.path().join(number.to_string());
            // Fidelity hardly depends on the key.
            made.push(self.make(source, &folder, original.filter(|_| number == 0))?);
        }
        let dtype = made
            .first()
            .map_or_else(String::new, |made| made.dtype.clone());
        let fidelity = made.first_mut().and_then(|made| made.fidelity.take());
        let copies: Vec<EncryptedCopy> = made.into_iter().map(|made| made.copy).collect();
        let mut verdicts = Vec::new();
        for (attack, studied) in studied {
            busy.set_message(format!("{name_of}: {}", attack.name));
            verdicts.push(studied.verdict(&copies)?);
        }
        busy.finish_and_clear();
        let config = audit.public().config();
        Ok(Audited {
            model: name(&args.model),
            scheme: name_of,
            architecture: config.architecture.model_type.to_owned(),
            profile: match self {
                Self::Ours(options) => Some(options.profile),
                Self::AloePri(..) => None,
            },
            noise: match self {
                Self::Ours(options) => options.noise,
                Self::AloePri(parameters, _) => parameters.alpha_e,
            },
            dtype,
            vocab_size: config.vocab_size,
            text_tokens: audit.text_tokens(),
            fidelity,
            verdicts,
        })
    }

    fn make(
        &self,
        source: &Checkpoint,
        folder: &Path,
        original: Option<&Original>,
    ) -> Result<Made> {
        let key = MasterKey::generate()?;
        match self {
            Self::Ours(options) => {
                let summary = encrypt(source, folder, &key, options, &|_| ())?;
                let manifest = summary.manifest;
                let compare = |original: &Original| {
                    original.compare(&Checkpoint::open(folder)?, &key, &manifest)
                };
                Ok(Made {
                    copy: copies::open(folder, &key, &manifest)?,
                    fidelity: original.map(compare).transpose()?,
                    dtype: manifest.dtype,
                })
            }
            Self::AloePri(parameters, dtype) => {
                let mut seed = [0; 32];
                getrandom::fill(&mut seed).context("the system gives no random numbers")?;
                let secret = parameters.encrypt(source.dir(), folder, Some(*dtype), seed)?;
                let compare = |original: &Original| {
                    original.compare_renamed(&Checkpoint::open(folder)?, &secret)
                };
                let fidelity = original.map(compare).transpose()?;
                let truth = Truth::of_rows(secret.plain_of().to_vec());
                Ok(Made {
                    copy: EncryptedCopy::open(folder, truth)?,
                    fidelity,
                    dtype: dtype.name().to_owned(),
                })
            }
        }
    }
}
