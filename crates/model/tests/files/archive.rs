//! An assembler for zips that lets every field lie.

/// A file in an archive. `None`: the truth.
#[derive(Clone, Default)]
pub struct Member {
    pub name: Vec<u8>,
    pub bytes: Vec<u8>,
    pub local_name: Option<Vec<u8>>,
    pub method: u16,
    pub flags: u16,
    pub crc: Option<u32>,
    /// Length that the directory claims.
    pub len: Option<u64>,
    /// Place of the header that the directory claims.
    pub at: Option<u64>,
    /// Sizes and place in a 64-bit extra field.
    pub wide: bool,
}

/// What the last record claims. `None`: the truth.
#[derive(Clone, Copy, Default)]
pub struct End {
    pub count: Option<u64>,
    pub size: Option<u64>,
    pub start: Option<u64>,
    /// With the 64-bit records.
    pub wide: bool,
}

pub fn member(name: &str, bytes: &[u8]) -> Member {
    Member { name: name.into(), bytes: bytes.to_vec(), ..Member::default() }
}

pub fn zip(members: &[Member]) -> Vec<u8> {
    zip_with(members, End::default())
}

pub fn zip_with(members: &[Member], end: End) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for member in members {
        let at = member.at.unwrap_or(out.len() as u64);
        let len = member.len.unwrap_or(member.bytes.len() as u64);
        let crc = member.crc.unwrap_or_else(|| crc32fast::hash(&member.bytes));
        let local = member.local_name.as_ref().unwrap_or(&member.name);
        let narrow = |value: u64| if member.wide { u32::MAX } else { u32::try_from(value).unwrap_or(u32::MAX) };
        out.extend(0x0403_4b50_u32.to_le_bytes());
        push16(&mut out, &[20, member.flags, member.method, 0, 0]);
        push32(&mut out, &[crc, narrow(len), narrow(len)]);
        push16(&mut out, &[local.len() as u16, 0]);
        out.extend(local);
        out.extend(&member.bytes);
        let mut extra = Vec::new();
        if member.wide {
            push16(&mut extra, &[1, 24]);
            for value in [len, len, at] {
                extra.extend(value.to_le_bytes());
            }
        }
        directory.extend(0x0201_4b50_u32.to_le_bytes());
        push16(&mut directory, &[20, 20, member.flags, member.method, 0, 0]);
        push32(&mut directory, &[crc, narrow(len), narrow(len)]);
        push16(&mut directory, &[member.name.len() as u16, extra.len() as u16, 0, 0, 0]);
        push32(&mut directory, &[0, narrow(at)]);
        directory.extend(&member.name);
        directory.extend(extra);
    }
    let start = end.start.unwrap_or(out.len() as u64);
    let (size, count) = (end.size.unwrap_or(directory.len() as u64), end.count.unwrap_or(members.len() as u64));
    out.extend(directory);
    if end.wide {
        let at = out.len() as u64;
        push32(&mut out, &[0x0606_4b50]);
        out.extend(44_u64.to_le_bytes());
        push16(&mut out, &[45, 45]);
        push32(&mut out, &[0, 0]);
        for value in [count, count, size, start] {
            out.extend(value.to_le_bytes());
        }
        push32(&mut out, &[0x0706_4b50, 0]);
        out.extend(at.to_le_bytes());
        push32(&mut out, &[1]);
    }
    let narrow = |value: u64| if end.wide { u32::MAX } else { u32::try_from(value).unwrap_or(u32::MAX) };
    push32(&mut out, &[0x0605_4b50]);
    push16(&mut out, &[0, 0, narrow(count) as u16, narrow(count) as u16]);
    push32(&mut out, &[narrow(size), narrow(start)]);
    push16(&mut out, &[0]);
    out
}

fn push16(out: &mut Vec<u8>, values: &[u16]) {
    out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}

fn push32(out: &mut Vec<u8>, values: &[u32]) {
    out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}

/// The archive that PyTorch would write around this pickle and these storages.
pub fn pytorch(pickle: &[u8], storages: &[Vec<u8>]) -> Vec<u8> {
    let mut members = vec![member("archive/data.pkl", pickle), member("archive/byteorder", b"little")];
    members.extend(storages.iter().enumerate().map(|(key, bytes)| member(&format!("archive/data/{key}"), bytes)));
    zip(&members)
}
