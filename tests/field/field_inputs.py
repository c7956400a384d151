"""Small inputs that stand for what people reported (README.md), made of one portrait photo."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

SKIN = (205, 160, 135)
# Of the face in the portrait, in pixels of its 512 × 512.
EYES, NOSE, MOUTH, CHIN = ((202, 110), (243, 112)), (222, 130), (222, 155), (222, 172)


def _drawn(photo: Image.Image, draw: Callable[[ImageDraw.ImageDraw], None]) -> Image.Image:
    image = photo.copy()
    draw(ImageDraw.Draw(image))
    return image


def sunglasses(draw: ImageDraw.ImageDraw) -> None:
    for x, y in EYES:
        draw.ellipse((x - 17, y - 12, x + 17, y + 13), fill=(15, 15, 18))
    draw.line((EYES[0], EYES[1]), fill=(15, 15, 18), width=4)


def surgical_mask(draw: ImageDraw.ImageDraw) -> None:
    draw.polygon([(188, 128), (222, 120), (260, 130), (256, 165), (224, 182), (192, 162)], fill=(160, 200, 220))


def hand_on_the_chin(draw: ImageDraw.ImageDraw) -> None:
    for number in range(4):
        draw.rounded_rectangle((236 + 9 * number, 130, 244 + 9 * number, 200), 4, fill=SKIN, outline=(150, 110, 90))


def hat(draw: ImageDraw.ImageDraw) -> None:
    draw.ellipse((130, 50, 320, 92), fill=(40, 35, 60))
    draw.rectangle((175, 5, 272, 72), fill=(40, 35, 60))


def noisy(photo: Image.Image) -> Image.Image:
    noise = np.random.default_rng(1).normal(0, 28, (photo.height, photo.width, 3))
    return Image.fromarray((np.asarray(photo) + noise).clip(0, 255).astype(np.uint8))


def dark(photo: Image.Image) -> Image.Image:
    return Image.fromarray(((np.asarray(photo) / 255) ** 2.2 * 110).astype(np.uint8))


def motion_blur(photo: Image.Image) -> Image.Image:
    pixels = np.asarray(photo, np.float32)
    return Image.fromarray(np.mean([np.roll(pixels, shift, 1) for shift in range(-5, 6)], 0).astype(np.uint8))


def painting(photo: Image.Image) -> Image.Image:
    return ImageOps.posterize(photo.filter(ImageFilter.ModeFilter(5)), 4).filter(ImageFilter.SMOOTH)


def screenshot(photo: Image.Image) -> Image.Image:
    """A phone's screen: black bars, a status bar, icons below."""
    screen = Image.new("RGB", (540, 1170), "black")
    screen.paste(photo, (14, 300))
    draw = ImageDraw.Draw(screen)
    draw.text((30, 20), "09:41   100 %", fill="white")
    for x in range(60, 500, 110):
        draw.ellipse((x, 1050, x + 50, 1100), outline="white", width=3)
    return screen


def passport(photo: Image.Image) -> Image.Image:
    page = Image.new("RGB", (900, 640), (214, 222, 205))
    draw = ImageDraw.Draw(page)
    for y in range(0, 640, 8):
        draw.line((0, y, 900, y + 30), fill=(195, 208, 200))
    page.paste(photo.crop((90, 0, 360, 340)), (60, 120))
    for y, text in enumerate(("SURNAME", "GIVEN NAMES", "NATIONALITY", "DATE OF BIRTH")):
        draw.text((380, 130 + 70 * y), text, fill=(40, 40, 60))
    draw.text((40, 560), "P<UTO" + "<" * 60 + "0123456789", fill=(20, 20, 20))
    return page


def watermark(photo: Image.Image) -> Image.Image:
    layer = Image.new("RGBA", photo.size)
    draw = ImageDraw.Draw(layer)
    for y in range(0, 512, 70):
        draw.text((y % 140, y), "SAMPLE   SAMPLE   SAMPLE", fill=(255, 255, 255, 120), font_size=28)
    return Image.alpha_composite(photo.convert("RGBA"), layer).convert("RGB")


def compressed(photo: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=8)
    return Image.open(buffer).convert("RGB")


def touching(photo: Image.Image) -> Image.Image:
    """Two people cheek to cheek; the one to the left is larger."""
    both = Image.new("RGB", (760, 512), (120, 130, 140))
    both.paste(photo.crop((40, 0, 512, 512)).resize((390, 423)), (340, 89))
    both.paste(photo.crop((60, 0, 400, 512)), (60, 0))
    return both


def panorama(photo: Image.Image) -> Image.Image:
    wide = Image.new("RGB", (4000, 300), (130, 150, 170))
    wide.paste(photo.crop((50, 0, 450, 400)).resize((300, 300)), (3000, 0))
    return wide


def far_away(photo: Image.Image) -> Image.Image:
    field = Image.new("RGB", (1600, 1200), (120, 140, 100))
    field.paste(photo.resize((200, 200), Image.Resampling.LANCZOS), (900, 700))
    return field


def light_on_light(photo: Image.Image) -> Image.Image:
    return ImageEnhance.Brightness(photo).enhance(1.7)


PICTURES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "sunglasses": lambda photo: _drawn(photo, sunglasses),
    "surgical mask": lambda photo: _drawn(photo, surgical_mask),
    "hand on the chin": lambda photo: _drawn(photo, hand_on_the_chin),
    "hat": lambda photo: _drawn(photo, hat),
    "black and white": lambda photo: photo.convert("L"),
    "sepia": lambda photo: ImageOps.colorize(photo.convert("L"), (40, 20, 5), (250, 235, 200)),
    "low light": dark,
    "overexposed": light_on_light,
    "noise": noisy,
    "motion blur": motion_blur,
    "painting": painting,
    "screenshot with bars": screenshot,
    "passport scan": passport,
    "watermark": watermark,
    "heavily compressed": compressed,
    "two people touching": touching,
    "panorama": panorama,
    "far away": far_away,
    "tilted by 30°": lambda photo: photo.rotate(30, fillcolor=(128, 128, 128)),
    "tilted by 60°": lambda photo: photo.rotate(-60, fillcolor=(128, 128, 128)),
    "cut at the forehead": lambda photo: photo.crop((100, 90, 400, 400)),
    "fills the frame": lambda photo: photo.crop((184, 66, 264, 186)).resize((512, 768)),
    "half of the face": lambda photo: photo.crop((0, 0, 226, 512)),
}


def alpha_of(aligned) -> np.ndarray:
    """(512, 512) float32 alpha in [0, 1] of an aligned portrait."""
    return np.asarray(aligned.cutout.resize((512, 512)).getchannel("A"), np.float32) / 255
