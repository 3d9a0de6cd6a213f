package peer;
import java.io.Serializable;
import java.math.*;
import java.util.*;
public class Types implements Serializable {
  private static final long serialVersionUID = 1L;
  public boolean z; public byte b; public short s; public char c; public int i; public long l; public float f; public double d;
  public Integer boxed; public Long boxedL; public Double boxedD; public String str; public byte[] bytes; public int[] ints; public long[] longs; public String[] strs; public Object[] objs;
  public double[] doubles; public Date date; public BigDecimal dec; public BigInteger big; public Level level;
  public Set<String> set; public List<Object> list; public Map<Object, Object> map; public LinkedList<Integer> linked; public Types self;
  public static Types sample() {
    Types t = new Types(); t.z = true; t.b = -5; t.s = 30000; t.c = '\u4e2d'; t.i = -262145; t.l = Long.MIN_VALUE; t.f = 1.5f; t.d = 3.141592653589793;
    t.boxed = 2147483647; t.boxedL = -2L; t.boxedD = 0.0; t.str = "h\u00e9llo \u4e16\u754c \ud83d\ude00"; t.bytes = new byte[]{0, 1, -1, 127, -128};
    t.ints = new int[]{0, 47, -2048, 262143, 1 << 30}; t.longs = new long[]{0, 15, -8, 2047, 262143, 2147483648L, Long.MAX_VALUE};
    t.strs = new String[]{"a", null, ""}; t.objs = new Object[]{1, "two", 3L, 4.0, true, null};
    t.doubles = new double[]{0.0, 1.0, -128.0, 32767.0, 0.001, 1e300};
    t.date = new Date(1573430400123L); t.dec = new BigDecimal("12345678901234567890.0001"); t.big = new BigInteger("123456789012345678901234567890"); t.level = Level.MID;
    t.set = new LinkedHashSet<>(Arrays.asList("x", "y")); t.list = new ArrayList<>(Arrays.asList(1, "s", null, 2.5, new Date(1573430400000L), Level.LOW));
    t.map = new LinkedHashMap<>(); t.map.put("k", 1); t.map.put(2, "v"); t.map.put(3L, new ArrayList<>(Arrays.asList(1, 2, 3)));
    t.linked = new LinkedList<>(Arrays.asList(1, 2)); t.self = t;
    return t;
  }
}
