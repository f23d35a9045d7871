"""Records of which only reading is left, kept small: deflated, with a dictionary of what they all say.

A shrunk value begins with a byte that no msgpack value begins with, then the number of its dictionary.
Dictionaries are for ever: what was shrunk with one is only read with that very one.
"""

from __future__ import annotations

import zlib

MARK = b"\xc1"  # "never used" in the msgpack specification
DICTIONARY_1 = 1
GROWN_BYTES_MAX = 16 << 20  # far beyond any record
_NAMES_1 = (
    "total_refunded_minor shipping_refunded_minor tax_refunded_minor given_back_minor invoice bound "
    "returned partially_returned return_requested partially_refunded refunded disputed pending failed "
    "carrier tracking delivered_ms at_ms pieces kind label threshold percent fixed coupon sale "
    "merchant list_unit sale_pieces limit sent dropped coming back owed refunds returns cases coupons "
    "discounts shipments shipping tax demo paid_by pay_01 payments referral contact con_01 "
    "fulfilment none shipped delivered payment none paid state expired cancelled completed "
    "reserved_until_ms expires_ms created_ms updated_ms price_version USD EUR JPY CNY "
)
_DICTIONARIES = {
    DICTIONARY_1: _NAMES_1.encode()
    + b"\x8d\xa2id\xbeord_01\xa3sub\xa4room\xa5lines\x91\x87\xa3sku\xbesku_01\xa7product\xbeprd_01"
    b"\xa5title\xa7options\x80\xa3qty\x01\xa4unit\x82\xa6amount\xcd\xa8currency\xa3CNY\xa7limited\xc2"
    b"\xa5total\x82\xa6amount\xcd\xa8currency\xa3CNY\xadprice_version\xa5state\xa9completed"
    b"\xa7payment\xa4paid\xaafulfilment\xa9delivered\xb1reserved_until_ms\xcf\x00\x00\x01"
    b"\xaaexpires_ms\xcf\x00\x00\x01\xaacreated_ms\xcf\x00\x00\x01\xaaupdated_ms\xcf\x00\x00\x01"
}


def shrink(value: bytes) -> bytes:
    """The value in its small form; a value that is small already comes back as it is."""
    if value.startswith(MARK):
        return value
    deflate = zlib.compressobj(9, wbits=-15, zdict=_DICTIONARIES[DICTIONARY_1])
    return MARK + bytes([DICTIONARY_1]) + deflate.compress(value) + deflate.flush()


def grow(value: bytes) -> bytes:
    """The value as it was before `shrink`; any other value as it is."""
    if value[:1] != MARK:
        return value
    inflate = zlib.decompressobj(wbits=-15, zdict=_DICTIONARIES[value[1]])
    return inflate.decompress(value[2:], GROWN_BYTES_MAX)
