"""What the demo's bots are called and what they say; each says that it is one."""

from __future__ import annotations

LABEL = "bot · "
CHATTERS = ("Mei", "阿杰", "Sofia", "小满")
BUYERS = (
    "Ada", "阿宁", "Ben", "陈一", "Chloe", "大伟", "Elif", "方圆", "Gita", "海燕", "Ivan", "嘉禾",
    "Kofi", "可可", "Lena", "林夕", "Nora", "木子", "Omar", "晴天", "Rosa", "思远", "Tom", "小鱼",
)  # fmt: skip

GREETINGS = (
    "Hello everyone! 大家好！",
    "第一次来，主播好～",
)
# By the name of the product's picture.
REMARKS: dict[str, tuple[str, str]] = {
    "cup": ("How many ml does the cup hold?", "青瓷这个颜色太温柔了"),
    "teapot": ("Does the lid sit tight when you pour?", "这把壶养起来一定好看"),
    "tin": ("Light roast for me, it smells of orchids", "浓香的适合冬天喝"),
    "lantern": ("That glow! 氛围感拉满", "Does it fold flat for the move?"),
    "scarf": ("Indigo or rust... I cannot decide", "亚麻的透气，春天正好"),
    "cushion": ("It is smiling at me 🧡", "柿柿如意！"),
    "tote": ("The heron is so elegant", "能装下笔记本电脑吗？"),
    "socks": ("Warm feet, happy winter", "我家三口一人一双"),
    "candle": ("You can almost smell the honey", "蜂蜡的烧起来没有烟"),
    "succulent": ("Smallest flatmate, no noise", "多肉多久浇一次水？"),
}  # fmt: skip
SALE_SOON = "Flash sale in a moment: persimmon cushions! 秒杀马上开始！"
SALE_ON = "Now! 20 persimmon cushions at ¥19.90 · 限时秒杀，20 个柿子抱枕！"
SALE_CHEERS = (
    "Got one! 抢到了！",
    "So fast, only a few left",
    "手慢无！",
    "Yes! One for my sister",
)
SALE_OVER = "All gone. Next round in a few minutes · 秒完啦，下一轮见"


def price_text(amount: int) -> str:
    """Minor units of CNY as a person writes them."""
    return f"¥{amount / 100:.2f}"
