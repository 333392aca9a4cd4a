use super::encode;
use super::quant;

/// The tensor formats that can be read: plain floats, and blocks of quantised values.
///
/// A block is the smallest piece of a row that can be read alone. The sizes are those of ggml.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the variants are the format's type names")]
#[non_exhaustive]
pub enum GgmlType {
    F32,
    F16,
    Bf16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4K,
    Q5K,
    Q6K,
}

impl GgmlType {
    /// Every format, in the order of the file format's numbers.
    pub const ALL: [GgmlType; 11] = [
        GgmlType::F32,
        GgmlType::F16,
        GgmlType::Q4_0,
        GgmlType::Q4_1,
        GgmlType::Q5_0,
        GgmlType::Q5_1,
        GgmlType::Q8_0,
        GgmlType::Q4K,
        GgmlType::Q5K,
        GgmlType::Q6K,
        GgmlType::Bf16,
    ];

    /// The format with this number in a file; `None` if it cannot be read.
    pub fn from_id(id: u32) -> Option<GgmlType> {
        GgmlType::ALL.into_iter().find(|kind| kind.layout().0 == id)
    }

    /// The format's number in a file.
    pub fn id(self) -> u32 {
        self.layout().0
    }

    /// ggml's name, such as `Q4_K`.
    pub fn name(self) -> &'static str {
        self.layout().1
    }

    /// Values in one block.
    pub fn block_values(self) -> usize {
        self.layout().2
    }

    /// Bytes in one block.
    pub fn block_bytes(self) -> usize {
        self.layout().3
    }

    /// `out = values of the blocks in bytes`; the formula of each format is with its code.
    ///
    /// # Panics
    /// If `bytes` is not whole blocks, or `out` has not one place for each of their values.
    pub fn dequantize(self, bytes: &[u8], out: &mut [f32]) {
        let blocks = bytes.len() / self.block_bytes();
        assert_eq!(
            bytes.len() % self.block_bytes(),
            0,
            "whole blocks of {}",
            self.name()
        );
        assert_eq!(
            out.len(),
            blocks * self.block_values(),
            "one place for each value"
        );
        quant::dequantize(self, bytes, out);
    }

    /// Whether [`GgmlType::quantize`] can write this format.
    pub fn can_be_written(self) -> bool {
        matches!(
            self,
            GgmlType::F32 | GgmlType::F16 | GgmlType::Bf16 | GgmlType::Q8_0 | GgmlType::Q4K
        )
    }

    /// `bytes = blocks whose values are nearest to values`: plain floats rounded to nearest even,
    /// Q8_0 with the scale of its largest value, Q4_K by a search for small squared errors.
    ///
    /// False, with `bytes` of no use, if a value is not finite or not within the format's range.
    ///
    /// # Panics
    /// If the format [cannot be written](GgmlType::can_be_written), `values` is not whole blocks,
    /// or `bytes` has not exactly their size.
    pub fn quantize(self, values: &[f32], bytes: &mut [u8]) -> bool {
        let blocks = values.len() / self.block_values();
        let whole = blocks * self.block_values() == values.len();
        assert!(whole, "whole blocks of {}", self.name());
        assert_eq!(
            bytes.len(),
            blocks * self.block_bytes(),
            "the blocks' bytes"
        );
        encode::quantize(self, values, bytes)
    }

    /// Number, name, values in a block, bytes in a block.
    fn layout(self) -> (u32, &'static str, usize, usize) {
        match self {
            GgmlType::F32 => (0, "F32", 1, 4),
            GgmlType::F16 => (1, "F16", 1, 2),
            GgmlType::Q4_0 => (2, "Q4_0", 32, 18),
            GgmlType::Q4_1 => (3, "Q4_1", 32, 20),
            GgmlType::Q5_0 => (6, "Q5_0", 32, 22),
            GgmlType::Q5_1 => (7, "Q5_1", 32, 24),
            GgmlType::Q8_0 => (8, "Q8_0", 32, 34),
            GgmlType::Q4K => (12, "Q4_K", 256, 144),
            GgmlType::Q5K => (13, "Q5_K", 256, 176),
            GgmlType::Q6K => (14, "Q6_K", 256, 210),
            GgmlType::Bf16 => (30, "BF16", 1, 2),
        }
    }
}

/// A name for a message: ggml's formats that cannot be read are named too.
pub(super) fn describe(id: u32) -> String {
    let name = match id {
        9 => "Q8_1",
        10 => "Q2_K",
        11 => "Q3_K",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        _ => return format!("format number {id}"),
    };
    name.to_owned()
}
