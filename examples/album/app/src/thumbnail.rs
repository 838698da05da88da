//! Makes a small picture of a large one.

use crate::Result;
use image::codecs::jpeg::JpegEncoder;
use image::{ImageFormat, ImageReader, Limits};
use std::io::Cursor;

/// A small file can claim to be a huge picture; beyond this it is refused before it is decoded.
const LONGEST_SIDE: u32 = 20_000;
const MOST_MEMORY: u64 = 256 * 1024 * 1024;

/// A picture, in the format of its original.
pub struct Picture {
    /// The file.
    pub bytes: Vec<u8>,
    /// Its media type.
    pub content_type: &'static str,
    /// Its file name extension.
    pub extension: &'static str,
}

/// Scales a JPEG or PNG down until neither side is longer than `side`, in pixels. What the uploader called it does not count, only what it is.
pub fn make(original: &[u8], side: u32) -> Result<Picture> {
    let mut reader = ImageReader::new(Cursor::new(original)).with_guessed_format()?;
    let format = reader.format().ok_or("neither JPEG nor PNG")?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(LONGEST_SIDE);
    limits.max_image_height = Some(LONGEST_SIDE);
    limits.max_alloc = Some(MOST_MEMORY);
    reader.limits(limits);
    let picture = reader.decode()?;
    let small =
        if picture.width().max(picture.height()) > side { picture.thumbnail(side, side) } else { picture };
    let mut bytes = Vec::new();
    let (content_type, extension) = match format {
        ImageFormat::Png => {
            small.write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png)?;
            ("image/png", "png")
        }
        _ => {
            small.to_rgb8().write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, 80))?;
            ("image/jpeg", "jpg")
        }
    };
    Ok(Picture { bytes, content_type, extension })
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{DynamicImage, GenericImageView};

    fn picture(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Vec::new();
        DynamicImage::new_rgb8(width, height).write_to(&mut Cursor::new(&mut bytes), format).unwrap();
        bytes
    }

    #[test]
    fn keeps_format_and_proportions() {
        for (format, content_type) in [(ImageFormat::Png, "image/png"), (ImageFormat::Jpeg, "image/jpeg")] {
            let thumbnail = make(&picture(1280, 640, format), 320).unwrap();
            assert_eq!(thumbnail.content_type, content_type);
            let small = image::load_from_memory(&thumbnail.bytes).unwrap();
            assert_eq!(small.dimensions(), (320, 160));
        }
    }

    #[test]
    fn a_small_picture_is_not_blown_up() {
        let small =
            image::load_from_memory(&make(&picture(8, 4, ImageFormat::Png), 320).unwrap().bytes).unwrap();
        assert_eq!(small.dimensions(), (8, 4));
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        assert!(make(b"hello", 320).is_err());
        assert!(make(&picture(100, 100, ImageFormat::Png)[..60], 320).is_err());
    }
}
