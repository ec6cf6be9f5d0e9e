"""Where Lishui's merchants come from and where they do business. The shares are invented, the codes are GB/T 2260.

Seven areas stand for the 31 provinces wherever a feature should have few values.
"""

from __future__ import annotations

from dataclasses import dataclass

COUNTIES = {
    "331102": ("莲都区", 0.14),
    "331121": ("青田县", 0.20),
    "331122": ("缙云县", 0.16),
    "331123": ("遂昌县", 0.08),
    "331124": ("松阳县", 0.08),
    "331125": ("云和县", 0.07),
    "331126": ("庆元县", 0.09),
    "331127": ("景宁畲族自治县", 0.09),
    "331181": ("龙泉市", 0.09),
}
"""Code → name and share of merchants that come from there."""

AREAS = ("north", "northeast", "east", "central", "south", "southwest", "northwest")


@dataclass(frozen=True)
class Province:
    """A province as a place of business.

    Attributes:
        name: its short name.
        area: index into `AREAS`.
        share: of merchants that are there, before normalising.
        wealth: logarithm of what customers spend there, against the mean.
        peak: month (0 = January) in which its inns are fullest.
    """

    name: str
    area: int
    share: float
    wealth: float
    peak: int


PROVINCES = {
    "110000": Province("北京", 0, 5.0, 0.45, 9),
    "120000": Province("天津", 0, 2.2, 0.2, 7),
    "130000": Province("河北", 0, 3.0, -0.1, 7),
    "140000": Province("山西", 0, 2.0, -0.15, 7),
    "150000": Province("内蒙古", 0, 1.6, -0.05, 7),
    "210000": Province("辽宁", 1, 2.0, -0.1, 7),
    "220000": Province("吉林", 1, 1.2, -0.2, 0),
    "230000": Province("黑龙江", 1, 1.2, -0.25, 0),
    "310000": Province("上海", 2, 9.0, 0.5, 4),
    "320000": Province("江苏", 2, 8.0, 0.3, 4),
    "330000": Province("浙江", 2, 14.0, 0.3, 6),
    "340000": Province("安徽", 2, 4.0, -0.05, 4),
    "350000": Province("福建", 2, 5.0, 0.1, 9),
    "360000": Province("江西", 2, 4.0, -0.1, 9),
    "370000": Province("山东", 2, 4.0, 0.05, 7),
    "410000": Province("河南", 3, 2.8, -0.1, 4),
    "420000": Province("湖北", 3, 3.0, 0.0, 3),
    "430000": Province("湖南", 3, 2.8, -0.05, 9),
    "440000": Province("广东", 4, 8.0, 0.3, 9),
    "450000": Province("广西", 4, 1.8, -0.15, 9),
    "460000": Province("海南", 4, 1.6, 0.1, 0),
    "500000": Province("重庆", 5, 2.2, 0.05, 9),
    "510000": Province("四川", 5, 3.2, 0.0, 7),
    "520000": Province("贵州", 5, 1.6, -0.15, 7),
    "530000": Province("云南", 5, 2.4, -0.05, 1),
    "540000": Province("西藏", 5, 0.6, -0.1, 7),
    "610000": Province("陕西", 6, 2.0, -0.05, 9),
    "620000": Province("甘肃", 6, 1.0, -0.2, 7),
    "630000": Province("青海", 6, 0.6, -0.15, 7),
    "640000": Province("宁夏", 6, 0.6, -0.15, 7),
    "650000": Province("新疆", 6, 1.4, 0.0, 8),
}
"""Code → province."""
