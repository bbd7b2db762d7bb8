import java.net.URL;
import javax.net.ssl.HttpsURLConnection;

/** What HttpsURLConnection gets from a URL. */
public class Fetch {
    public static void main(String[] words) throws Exception {
        var connection = (HttpsURLConnection) new URL(words[0]).openConnection();
        connection.getInputStream().transferTo(System.out);
    }
}
