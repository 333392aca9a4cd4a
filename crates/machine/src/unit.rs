#![allow(unsafe_code)]

use std::sync::OnceLock;

/// A processor's unit for matrix tiles: whoever has one may use its instructions.
#[derive(Debug, Clone, Copy)]
pub struct TileUnit(());

impl TileUnit {
    /// The one of this machine, if it has one and the system lets this process use it. Asks once.
    #[must_use]
    pub fn get() -> Option<Self> {
        static UNIT: OnceLock<Option<TileUnit>> = OnceLock::new();
        *UNIT.get_or_init(|| (has_tiles() && granted()).then_some(TileUnit(())))
    }
}

/// Whether there are tiles of bfloat16 and of eight-bit numbers, and the system saves them with a thread's registers.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn has_tiles() -> bool {
    use std::arch::asm;
    use std::arch::x86_64::{__cpuid, __cpuid_count};

    const OSXSAVE: u32 = 1 << 27;
    const TILES: u32 = 1 << 22 | 1 << 24 | 1 << 25;
    const SAVED: u32 = 1 << 17 | 1 << 18;
    if __cpuid(0).eax < 7 || __cpuid(1).ecx & OSXSAVE == 0 {
        return false;
    }
    let features = __cpuid_count(7, 0).edx;
    let saved: u32;
    // SAFETY: the system has set OSXSAVE, so XGETBV exists, and register 0 is always there; it changes nothing but its outputs.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") saved, out("edx") _, options(nomem, nostack, preserves_flags));
    }
    features & TILES == TILES && saved & SAVED == SAVED
}

/// Linux saves tiles only for processes that ask for it (arch_prctl(2), ARCH_REQ_XCOMP_PERM), since Linux 5.16.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn granted() -> bool {
    use std::arch::asm;

    const ARCH_PRCTL: usize = 158;
    const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
    const XFEATURE_XTILEDATA: usize = 18;
    let result: usize;
    // SAFETY: a system call that takes two numbers, reads and writes no memory, and is refused where it is not known. The
    // kernel keeps all registers but the three that are named.
    unsafe {
        asm!(
            "syscall",
            inout("rax") ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            out("rcx") _,
            out("r11") _,
            options(nomem, nostack),
        );
    }
    result == 0
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
fn has_tiles() -> bool {
    false
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
fn granted() -> bool {
    false
}

/// The unit with the shapes of its tiles set, which it gives up in the end: tiles 6 and 7 of sixteen rows, the others of so many, each row
/// of 64 bytes. Tiles are registers of this thread that nothing else uses.
#[cfg(target_arch = "x86_64")]
pub(crate) struct Shaped(std::marker::PhantomData<*const ()>);

#[cfg(target_arch = "x86_64")]
impl Shaped {
    /// With so many rows.
    #[inline(always)]
    pub(crate) fn new(_: TileUnit, rows: usize) -> Self {
        assert!((1..=16).contains(&rows), "{rows} rows of a tile");
        let mut shape = Shape([0; 64]);
        shape.0[0] = 1;
        for tile in 0..8 {
            shape.0[16 + 2 * tile] = 64;
            shape.0[48 + tile] = if tile < 6 { rows as u8 } else { 16 };
        }
        // SAFETY: there is a `TileUnit`, so the instruction exists. It reads the 64 bytes of `shape`, which are a
        // valid configuration, and changes nothing but the unit.
        unsafe {
            std::arch::asm!("ldtilecfg [{}]", in(reg) &shape, options(nostack, preserves_flags));
        }
        Self(std::marker::PhantomData)
    }
}

#[cfg(target_arch = "x86_64")]
impl Drop for Shaped {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: whoever made this has the unit; the instruction sets its registers back to how they were before.
        unsafe {
            std::arch::asm!("tilerelease", options(nomem, nostack, preserves_flags));
        }
    }
}

/// A configuration of the unit, palette 1: from byte 16 on the bytes of each tile's rows, in 16 bits; from byte 48 on their number.
#[cfg(target_arch = "x86_64")]
#[repr(C, align(64))]
struct Shape([u8; 64]);
