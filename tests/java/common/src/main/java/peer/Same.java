package peer;

import java.lang.reflect.Array;
import java.lang.reflect.Field;
import java.lang.reflect.Modifier;
import java.util.Collection;
import java.util.IdentityHashMap;
import java.util.Iterator;
import java.util.Map;
import java.util.Objects;
import java.util.Set;

/** Compares two values by what they hold; follows cycles once. */
final class Same {
  private final Map<Object, Object> seen = new IdentityHashMap<>();

  private Same() {}

  /** Where the two differ, or null. */
  static String difference(Object expected, Object actual) {
    return new Same().compare("", expected, actual);
  }

  private String compare(String path, Object expected, Object actual) {
    if (expected == null || actual == null) {
      return expected == actual ? null : report(path, expected, actual);
    }
    if (seen.put(expected, actual) == actual) {
      return null;
    }
    if (expected.getClass().isArray() && expected.getClass().getComponentType().isPrimitive()) {
      return Objects.deepEquals(expected, actual) ? null : report(path, expected, actual);
    }
    if (expected.getClass().isArray()) {
      return arrays(path, expected, actual);
    }
    if (expected instanceof Set) {
      return expected.equals(actual) ? null : report(path, expected, actual);
    }
    if (expected instanceof Collection) {
      return collections(path, (Collection<?>) expected, actual);
    }
    if (expected instanceof Map) {
      return maps(path, (Map<?, ?>) expected, actual);
    }
    if (expected.getClass().getPackage() == Same.class.getPackage() && !(expected instanceof Enum)) {
      return fields(path, expected, actual);
    }
    return expected.equals(actual) ? null : report(path, expected, actual);
  }

  private String arrays(String path, Object expected, Object actual) {
    if (expected.getClass() != actual.getClass() || Array.getLength(expected) != Array.getLength(actual)) {
      return report(path, expected, actual);
    }
    for (int i = 0; i < Array.getLength(expected); i++) {
      String difference = compare(path + "[" + i + "]", Array.get(expected, i), Array.get(actual, i));
      if (difference != null) {
        return difference;
      }
    }
    return null;
  }

  private String collections(String path, Collection<?> expected, Object actual) {
    if (!(actual instanceof Collection) || expected.size() != ((Collection<?>) actual).size()) {
      return report(path, expected, actual);
    }
    Iterator<?> other = ((Collection<?>) actual).iterator();
    int i = 0;
    for (Object item : expected) {
      String difference = compare(path + "[" + i++ + "]", item, other.next());
      if (difference != null) {
        return difference;
      }
    }
    return null;
  }

  private String maps(String path, Map<?, ?> expected, Object actual) {
    if (!(actual instanceof Map) || !expected.keySet().equals(((Map<?, ?>) actual).keySet())) {
      return report(path, expected, actual);
    }
    for (Object key : expected.keySet()) {
      String difference = compare(path + "{" + key + "}", expected.get(key), ((Map<?, ?>) actual).get(key));
      if (difference != null) {
        return difference;
      }
    }
    return null;
  }

  private String fields(String path, Object expected, Object actual) {
    if (expected.getClass() != actual.getClass()) {
      return report(path, expected, actual);
    }
    try {
      for (Field field : expected.getClass().getDeclaredFields()) {
        if (Modifier.isStatic(field.getModifiers())) {
          continue;
        }
        field.setAccessible(true);
        String difference = compare(path + "." + field.getName(), field.get(expected), field.get(actual));
        if (difference != null) {
          return difference;
        }
      }
      return null;
    } catch (IllegalAccessException e) {
      throw new IllegalStateException(e);
    }
  }

  private static String report(String path, Object expected, Object actual) {
    return (path.isEmpty() ? "" : "at " + path + ": ") + "expected " + brief(expected) + ", got " + brief(actual);
  }

  private static String brief(Object value) {
    String text = value == null ? "null" : value.getClass().getSimpleName() + " " + value;
    return text.length() > 200 ? text.substring(0, 200) + "... (" + text.length() + ")" : text;
  }
}
